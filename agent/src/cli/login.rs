//! `warder login`.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use identity::login::{Device, LoginClient, Poll, Provider, Tokens};
use identity::secret::Secret;

use crate::terminal;
use crate::token_file::{Renewal, TokenFile};

/// Largest token on standard input; larger ones prove nothing.
const TOKEN_BYTES_MAX: u64 = 16 << 10;
/// RFC 8628, section 3.5.
const SLOWER: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("way").required(true).args(["issuer", "token_stdin", "refresh"])))]
pub(super) struct Login {
    /// The identity provider's address; shows a code to enter in a browser, on this computer or another
    #[arg(long, value_name = "URL", requires = "client_id")]
    issuer: Option<String>,
    /// Client id that the identity provider has for `warder login`
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Scopes to ask for
    #[arg(long, default_value = "openid offline_access")]
    scope: String,
    /// What the token is for, where the identity provider wants to be told (RFC 8707)
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Certificates to trust, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Use the device flow; it is the only one with an issuer
    #[arg(long, requires = "issuer")]
    device: bool,
    /// Read a token from standard input instead
    #[arg(long)]
    token_stdin: bool,
    /// Get a new token with what the last login left, without a browser
    #[arg(long)]
    refresh: bool,
    /// Where to keep it; only its owner can read it [default: warder/token below $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Login {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let file = TokenFile::new(self.token_file.clone())?;
        if self.token_stdin {
            file.keep(&from_stdin()?, None)?;
        } else {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.ask(&file))?;
        }
        let path = file.path().display().to_string();
        Ok(terminal::print(&format!("the token is in {}\n", terminal::escape(&path)))?)
    }

    async fn ask(&self, file: &TokenFile) -> anyhow::Result<()> {
        let (renewal, tokens) = match (&self.issuer, &self.client_id) {
            (Some(issuer), Some(client_id)) => {
                let renewal = Renewal {
                    issuer: issuer.clone(),
                    client_id: client_id.clone(),
                    scope: self.scope.clone(),
                    resource: self.resource.clone(),
                    ca_file: self.ca_file.clone(),
                };
                let provider = Provider::discover(issuer, self.ca_file.as_deref()).await?;
                let tokens = by_device(&provider, &client(&renewal)).await?;
                (renewal, tokens)
            }
            _ => {
                let (renewal, refresh) = file.renewal()?;
                let provider = Provider::discover(&renewal.issuer, renewal.ca_file.as_deref()).await?;
                let mut tokens = provider.refresh(&client(&renewal), &refresh).await?;
                // An issuer that gives no new refresh token lets the old one be used again (RFC 6749, section 6).
                tokens.refresh.get_or_insert(refresh);
                (renewal, tokens)
            }
        };
        file.keep(&tokens.access, tokens.refresh.as_ref().map(|refresh| (&renewal, refresh)))
    }
}

fn client(renewal: &Renewal) -> LoginClient {
    let Renewal { client_id, scope, resource, .. } = renewal.clone();
    LoginClient { id: client_id, scope, resource }
}

async fn by_device(provider: &Provider, client: &LoginClient) -> anyhow::Result<Tokens> {
    let device = provider.begin(client).await?;
    show(&device)?;
    let deadline = tokio::time::sleep(device.expires_in);
    let polling = async {
        let mut pause = device.interval;
        loop {
            tokio::time::sleep(pause).await;
            match provider.poll(client, &device).await? {
                Poll::Granted(tokens) => return Ok(tokens),
                Poll::Pending => {}
                Poll::SlowDown => pause += SLOWER,
            }
        }
    };
    tokio::select! {
        tokens = polling => tokens,
        () = deadline => bail!("the login was not confirmed in time; begin again"),
    }
}

fn show(device: &Device) -> std::io::Result<()> {
    let address = device.whole_address.as_ref().unwrap_or(&device.address);
    let mut out = std::io::stdout().lock();
    writeln!(out, "open {}\nand confirm the code {}", terminal::escape(address), terminal::escape(&device.user_code))?;
    out.flush()
}

/// One line, as a provider's command line prints it.
fn from_stdin() -> anyhow::Result<Secret> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(TOKEN_BYTES_MAX + 1).read_to_end(&mut bytes).context("standard input")?;
    let read = Secret::new(bytes);
    let token = read.expose().trim_ascii();
    ensure!(!token.is_empty(), "standard input is empty; pipe a token into it");
    let usable = token.len() as u64 <= TOKEN_BYTES_MAX && token.iter().all(u8::is_ascii_graphic);
    ensure!(usable, "this is no token: one line of at most 16 KiB is expected, without spaces");
    Ok(Secret::new(token.to_vec()))
}
