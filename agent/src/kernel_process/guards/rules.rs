//! The access rules of a guarded database: read, checked before it is steered, told to the workers.

use std::os::fd::AsFd as _;

use anyhow::{Result, bail};
use capture::witness::Witness;
use tracing::{info, warn};

use super::server::Server;
use super::{Guarded, Surroundings};
use crate::kernel_process::access::{self, Access};
use crate::kernel_process::survey;
use crate::worker_link::{self, AccessTexts, ToWorker};

impl Guarded {
    /// Reads the server's rules and refuses what would be decided otherwise through a hop.
    pub(super) fn check_access(&mut self, witness: &Witness, server: &Server) -> Result<()> {
        let access = server.access(self.guard().access_file.as_deref())?;
        let survey = self.survey(witness, server, &access)?;
        if let Some(differences) = survey::differences(&survey) {
            bail!("pg_hba.conf would decide otherwise about the proxy's hop than about its clients: {differences}");
        }
        self.replication = survey::replication(&survey);
        self.access = Some(access);
        Ok(())
    }

    /// What the rules would do to clients through a hop.
    pub(super) fn survey(&self, witness: &Witness, server: &Server, access: &Access) -> Result<hba::survey::Survey> {
        let listening = self.addresses(witness, server).into_iter().map(|address| address.ip());
        let interfaces = access::interfaces(server.namespace.as_fd())?;
        Ok(survey::survey(access, self.guard(), listening, &interfaces))
    }

    pub(super) fn reload_access(&mut self, around: &Surroundings<'_>) {
        let Some(server) = self.server(around.witness) else { return };
        match self.check_access(around.witness, &server) {
            Ok(()) => info!(database = %self.database.name, "the access rules have changed and were read again"),
            Err(problem) => {
                warn!(database = %self.database.name, "the access rules have changed: {problem:#}");
                self.remarks = vec![format!("the access rules have changed: {problem:#}")];
                // The gate of each connection knows the new rules; where they cannot be read it closes.
                self.access = server.access(self.guard().access_file.as_deref()).ok();
            }
        }
        for number in around.workers.ready() {
            if let Err(problem) = self.tell_access(around, &server, number) {
                warn!(database = %self.database.name, "a worker could not be told the access rules: {problem:#}");
            }
        }
    }

    pub(super) fn tell_access(&self, around: &Surroundings<'_>, server: &Server, number: u32) -> Result<()> {
        let Some(access) = &self.access else {
            around.workers.tell(number, &ToWorker::NoAccess { database: self.database.id }, &[], &[]);
            return Ok(());
        };
        let interfaces = access::interfaces(server.namespace.as_fd())?;
        let is_surveyed = self.survey(around.witness, server, access)?.is_safe();
        let texts = AccessTexts { major: access.major, files: access.files.clone(), interfaces, is_surveyed };
        let memory = worker_link::in_memory(&serde_json::to_vec(&texts)?)?;
        around.workers.tell(number, &ToWorker::Access { database: self.database.id }, &[], &[memory.as_fd()]);
        Ok(())
    }
}
