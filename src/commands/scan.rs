//! The options that SSCAN, HSCAN and ZSCAN share.

use crate::command::Args;
use crate::error::{Error, Result};
use crate::types::glob::glob_match;

/// What follows the cursor.
pub(super) struct ScanOptions<'a> {
    /// MATCH; `None` lets everything through.
    pattern: Option<&'a [u8]>,
    /// COUNT.
    pub count: usize,
    /// NOVALUES or NOSCORES: the elements without what belongs to them.
    pub bare: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads all words that are left. `bare` is the command's own word for elements alone.
    pub fn parse(args: &mut Args<'a>, bare: Option<&str>) -> Result<ScanOptions<'a>> {
        let mut options = ScanOptions { pattern: None, count: 10, bare: false };
        while let Some(word) = args.option() {
            match &*word {
                "COUNT" => {
                    let count = args.int()?;
                    if count < 1 {
                        return Err(Error::Syntax);
                    }
                    options.count = usize::try_from(count).unwrap_or(usize::MAX);
                }
                "MATCH" => {
                    let pattern = args.required()?;
                    options.pattern = (pattern != b"*").then_some(pattern);
                }
                word if Some(word) == bare => options.bare = true,
                "NOVALUES" => return Err(Error::NovaluesOutsideHscan),
                _ => return Err(Error::Syntax),
            }
        }
        Ok(options)
    }

    /// Whether MATCH lets this element through.
    pub fn matches(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_match(pattern, element, false))
    }
}
