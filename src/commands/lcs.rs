//! LCS: the longest common subsequence of two strings, by the classic table of lengths.

use crate::command::Args;
use crate::error::{Error, Result};
use crate::keyspace::db::Db;
use crate::resp::out::{Done, Out};

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Options {
    fn read(args: &mut Args<'_>) -> Result<Options> {
        let mut options = Options::default();
        while let Some(word) = args.option() {
            match &*word {
                "IDX" => options.idx = true,
                "LEN" => options.len = true,
                "WITHMATCHLEN" => options.with_match_len = true,
                "MINMATCHLEN" => options.min_match_len = args.int()?.max(0),
                _ => return Err(Error::Syntax),
            }
        }
        if options.idx && options.len {
            let text = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(Error::of(text));
        }
        Ok(options)
    }
}

/// A run of equal bytes: its last positions in both strings, and its length.
type Match = (usize, usize, usize);

pub(super) fn lcs(db: &Db, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let (first, second) = (args.key(), args.key());
    let not_strings = |_| Error::of("ERR The specified keys must contain string values");
    let a = db.string(first).map_err(not_strings)?.map(|text| text.to_vec()).unwrap_or_default();
    let b = db.string(second).map_err(not_strings)?.map(|text| text.to_vec()).unwrap_or_default();
    let options = Options::read(args)?;
    // Redis: the table of lengths, 32 bits each, may be as large as the longest string.
    let cells = (a.len() + 1).checked_mul(b.len() + 1);
    let fits = |cells: &usize| *cells <= db.string_bytes_max / size_of::<u32>();
    let Some(cells) = cells.filter(fits) else {
        return Err(Error::of(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    };
    let mut table = vec![0u32; cells];
    let at = |i: usize, j: usize| i * (b.len() + 1) + j;
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            table[at(i, j)] = if a[i - 1] == b[j - 1] {
                table[at(i - 1, j - 1)] + 1
            } else {
                table[at(i - 1, j)].max(table[at(i, j - 1)])
            };
        }
    }
    let length = table[at(a.len(), b.len())];
    if options.len {
        return Ok(out.int(length as i64));
    }
    let (common, matches) = walk_back(&a, &b, |i, j| table[at(i, j)]);
    if !options.idx {
        return Ok(out.bulk(&common));
    }
    let wanted = |found: &&Match| found.2 as i64 >= options.min_match_len;
    let mut items = out.map(2);
    items.text("matches");
    items.array(matches.iter().filter(wanted).count());
    for &(i, j, len) in matches.iter().filter(wanted) {
        items.array(2 + options.with_match_len as usize);
        for last in [i, j] {
            items.array(2);
            items.int((last + 1 - len) as i64);
            items.int(last as i64);
        }
        if options.with_match_len {
            items.int(len as i64);
        }
    }
    items.text("len");
    items.int(length as i64);
    Ok(items.end())
}

/// Follows the table from its last cell: the common bytes, and the matches from last to first.
fn walk_back(a: &[u8], b: &[u8], table: impl Fn(usize, usize) -> u32) -> (Vec<u8>, Vec<Match>) {
    let (mut common, mut matches): (Vec<u8>, Vec<Match>) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (a.len(), b.len());
    let mut run: Option<Match> = None;
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            common.push(a[i - 1]);
            run = match run {
                Some((x, y, len)) if x + 1 - len == i && y + 1 - len == j => Some((x, y, len + 1)),
                other => {
                    matches.extend(other);
                    Some((i - 1, j - 1, 1))
                }
            };
            i -= 1;
            j -= 1;
        } else if table(i - 1, j) > table(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    matches.extend(run);
    common.reverse();
    (common, matches)
}
