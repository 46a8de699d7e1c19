//! Names that commands were called by: most come again and are written in the same way.
//!
//! Invariant: a name means the same command as long as the server lives, so who remembers one
//! never has to forget it: `rename-command` is read once, at the start.

use super::Dispatcher;
use crate::command::Spec;

/// The commands that this worker, or whoever else runs many, has met. They belong to one server.
#[derive(Default)]
pub struct KnownNames([Name; KnownNames::SLOTS]);

#[derive(Default)]
struct Name {
    len: u8,
    bytes: [u8; KnownNames::BYTES_MAX],
    spec: Option<&'static Spec>,
}

impl KnownNames {
    const SLOTS: usize = 32;
    const BYTES_MAX: usize = 15;

    #[inline]
    fn slot(name: &[u8]) -> usize {
        let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
        (*first as usize + 3 * *last as usize + 5 * name.len()) % Self::SLOTS
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<&'static Spec> {
        let known = &self.0[Self::slot(name)];
        (known.bytes.get(..known.len as usize) == Some(name)).then_some(known.spec)?
    }

    fn remember(&mut self, name: &[u8], spec: &'static Spec) {
        let known = &mut self.0[Self::slot(name)];
        if let Some(bytes) = known.bytes.get_mut(..name.len()) {
            bytes.copy_from_slice(name);
            known.len = name.len() as u8;
            known.spec = Some(spec);
        }
    }
}

impl std::fmt::Debug for KnownNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let specs = self.0.iter().filter_map(|name| name.spec);
        f.debug_list().entries(specs.map(|spec| &spec.name)).finish()
    }
}

impl Dispatcher<'_> {
    /// The command of a request, if there is one; at once when the name came before.
    #[inline]
    pub(super) fn find_as_before<'w>(
        &mut self,
        word: &impl Fn(usize) -> Option<&'w [u8]>,
    ) -> Option<&'static Spec> {
        let name = word(0)?;
        match self.names.as_ref().and_then(|names| names.find(name)) {
            Some(spec) => Some(spec),
            None => self.find_anew(name, word(1)),
        }
    }

    #[inline(never)]
    fn find_anew(&mut self, name: &[u8], next: Option<&[u8]>) -> Option<&'static Spec> {
        let spec = match next {
            Some(next) => self.find(&[name, next]),
            None => self.find(&[name]),
        };
        let spec = spec.ok()?;
        let is_plain = spec.container.is_none() && spec.subcommands.is_empty();
        if let (true, Some(names)) = (is_plain, &mut self.names) {
            names.remember(name, spec);
        }
        Some(spec)
    }
}
