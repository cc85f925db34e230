//! A record into a rule.

use crate::address::{self, Address, Column};
use crate::include::Record;
use crate::major::Major;
use crate::method::Method;
use crate::mistake::{Wrong, shown};
use crate::name;
use crate::options;
use crate::rule::{Connection, Rule, Written};
use crate::token::Token;

pub(crate) fn rule(record: Record, major: Major) -> Result<Rule, Wrong> {
    let mut fields = Fields { rest: record.fields.into_iter() };
    let connection = fields.one("the connection type")?;
    let connection =
        Connection::parse(&connection.text).ok_or_else(|| Wrong::ConnectionType(shown(&connection.text)))?;
    let databases = fields.list("the databases")?;
    let users = fields.list("the users")?;
    let address = match connection {
        Connection::Local => Address::All,
        _ => fields.address()?,
    };
    let method = fields.method(connection, major)?;
    let written = Written { databases, users, options: fields.rest.flatten().collect() };
    Ok(Rule {
        place: record.place,
        connection,
        databases: written.databases.iter().map(|token| name::database(token, major)).collect(),
        users: written.users.iter().map(|token| name::user(token, major)).collect(),
        address,
        method,
        options: options::parse(written.options.iter(), method, connection, major)?,
        written,
    })
}

struct Fields {
    rest: std::vec::IntoIter<Vec<Token>>,
}

impl Fields {
    fn list(&mut self, what: &'static str) -> Result<Vec<Token>, Wrong> {
        self.rest.next().ok_or(Wrong::Missing(what))
    }

    fn one(&mut self, what: &'static str) -> Result<Token, Wrong> {
        let mut tokens = self.list(what)?.into_iter();
        match (tokens.next(), tokens.next()) {
            (Some(token), None) => Ok(token),
            _ => Err(Wrong::Several(what)),
        }
    }

    fn address(&mut self) -> Result<Address, Wrong> {
        match address::parse(&self.one("the address")?)? {
            Column::Whole(address) => Ok(address),
            Column::WithoutMask(address) => address::with_mask(address, &self.one("the mask")?),
        }
    }

    fn method(&mut self, connection: Connection, major: Major) -> Result<Method, Wrong> {
        let token = self.one("the method")?;
        let method = Method::parse(&token.text, major).ok_or_else(|| Wrong::Method(shown(&token.text)))?;
        let local = connection == Connection::Local;
        let fits = match method {
            // The server changes it, for the sake of old files.
            Method::Ident if local => return Ok(Method::Peer),
            Method::Peer => local,
            Method::Gss => !local,
            Method::Cert => connection == Connection::HostTls,
            _ => true,
        };
        if fits { Ok(method) } else { Err(Wrong::MethodHere { method: method.name(), connection: connection.name() }) }
    }
}
