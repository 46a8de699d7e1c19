//! What the users of clients may do: asked before a command runs, wherever it came from.
//!
//! Invariant: a client whose user may do everything never comes here.

use super::Dispatcher;
use crate::acl::log::Origin;
use crate::acl::{Denial, Reason};
use crate::command::permission;
use crate::command::spec::Begin;
use crate::command::Spec;
use crate::commands::acl::note_refusal;
use crate::error::{Error, Result};

impl Dispatcher<'_> {
    /// Refuses DEBUG and MODULE to those who are not allowed to use them, logged in or not.
    #[cold]
    pub(super) fn protect(&mut self, spec: &Spec) -> Result<()> {
        let is_local = self.state.clients.at(self.me).is_local();
        let settings = self.state.config.settings();
        let (name, allowed) = match spec.name.as_str() {
            "debug" => ("DEBUG", settings.debug_command),
            _ => ("MODULE", settings.module_command),
        };
        if allowed.admits(is_local) {
            return Ok(());
        }
        let option = name.to_ascii_lowercase();
        Err(Error::of(format!(
            "ERR {name} command not allowed. If the enable-{option}-command option is set to \
             \"local\", you can run it from a local connection, otherwise you need to set this \
             option in the configuration file, and then restart the server."
        )))
    }

    /// Refuses, and notes, what the user of the client may not do.
    #[cold]
    pub(super) fn permit(&mut self, spec: &Spec, argv: &[&[u8]], origin: Origin) -> Result<()> {
        let Err((denial, user)) = self.judge(spec, argv, origin) else { return Ok(()) };
        let why = denial.text(&user, &spec.name, argv, false);
        let head: &[u8] = match origin {
            // Redis: a script is told so in an error without a code of its own.
            Origin::Script => b"ERR ACL failure in script: ",
            Origin::Client | Origin::Multi => b"NOPERM ",
        };
        Err(Error::of_bytes([head, &why].concat()))
    }

    /// The same for a command that was admitted when a transaction was collected.
    #[cold]
    pub(super) fn permit_still(&mut self, spec: &Spec, argv: &[&[u8]]) -> Result<()> {
        let Err((denial, _)) = self.judge(spec, argv, Origin::Multi) else { return Ok(()) };
        let why = match denial.reason {
            Reason::Key => "no permission to touch the specified keys",
            Reason::Channel => "no permission to access one of the channels used as arguments",
            _ => "no permission to execute the command or subcommand",
        };
        Err(Error::of(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the \
             EXEC call. This command is no longer allowed for the following reason: {why}"
        )))
    }

    fn judge(
        &mut self,
        spec: &Spec,
        argv: &[&[u8]],
        origin: Origin,
    ) -> std::result::Result<(), (Denial, Box<[u8]>)> {
        let Some(user) = self.state.clients.at(self.me).user.clone() else { return Ok(()) };
        permission::judge(&user, spec, argv).map_err(|denial| {
            let object = match denial.reason {
                Reason::Key | Reason::Channel => argv.get(denial.at).copied().unwrap_or_default(),
                Reason::Command | Reason::Login => spec.name.as_bytes(),
            };
            let asked = (origin, argv);
            note_refusal(self.state, self.me, denial.reason, asked, object, &user.name);
            (denial, user.name.clone())
        })
    }

    /// Whether a command may look at keys that it does not name (SORT's BY and GET).
    #[cold]
    pub(super) fn may_see_all_keys(&mut self, spec: &Spec, argv: &[&[u8]]) -> bool {
        if !spec.keys.iter().any(|rule| rule.begin == Begin::Unknown) {
            return true;
        }
        let user = &self.state.clients.at(self.me).user;
        user.as_ref().is_none_or(|user| permission::reads_all_keys(user, spec, argv))
    }
}
