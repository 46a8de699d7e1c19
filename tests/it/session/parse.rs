//! From the text of a session file to blocks of items, each with its line number.

use std::time::Duration;

use crate::words;

/// A session file.
pub struct Session {
    /// Every block, in order, those without commands too.
    pub blocks: Vec<Block>,
}

/// Items between two blank lines.
pub struct Block {
    /// Its items in order.
    pub items: Vec<Item>,
    /// The marks that hold for all of it: its own and those of the file above it.
    pub scope: Vec<Mark>,
}

impl Block {
    /// Whether anything happens in it.
    pub fn acts(&self) -> bool {
        self.items.iter().any(|item| !matches!(item.what, What::Comment(_) | What::Mark(_)))
    }
}

/// One statement with the number of its first line.
pub struct Item {
    /// Counted from 1.
    pub line: usize,
    /// The statement.
    pub what: What,
}

/// A statement.
pub enum What {
    /// `# text`, kept for rewriting.
    Comment(String),
    /// `@mark`
    Mark(Mark),
    /// `a> words`, `a*130> words`, `a>> "bytes"`, and the reply below.
    Send(Send),
    /// `a< reply`
    Receive {
        /// Who receives.
        client: String,
        /// Lines of what comes.
        expected: Vec<String>,
        /// Marks that hold for it.
        marks: Vec<Mark>,
    },
    /// `clock +11s`
    Clock(Duration),
    /// `close a`
    Close(String),
}

/// A command and the reply that is expected.
pub struct Send {
    /// The client's name, empty for the nameless one.
    pub client: String,
    /// The words, or one blob for raw bytes.
    pub words: Vec<Vec<u8>>,
    /// The text after the sign, for rewriting.
    pub text: String,
    /// Bytes as they are instead of a request.
    pub raw: bool,
    /// How often it is sent.
    pub times: usize,
    /// Lines of the reply; none: the client is parked.
    pub expected: Vec<String>,
    /// Marks that hold for this command.
    pub marks: Vec<Mark>,
}

/// See the module's head.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// Version as major * 100 + minor.
    Since(u32),
    /// With the reason.
    Ours(String),
    /// Names of clients.
    Resp3(Vec<String>),
    /// Group size.
    Unordered(usize),
    /// Sort the outermost array.
    UnorderedRows,
    /// Tolerance.
    Approx(f64),
    /// Expected text is a pattern.
    Match,
    /// Name of the variable.
    Save(String),
}

impl Mark {
    fn is_scope(&self) -> bool {
        matches!(self, Mark::Since(_) | Mark::Ours(_))
    }

    fn parse(text: &str) -> Result<Mark, String> {
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        Ok(match name {
            "@since" => Mark::Since(version(rest).ok_or("@since needs a version like 7.4")?),
            "@ours" if rest.is_empty() => return Err("@ours needs a reason".into()),
            "@ours" => Mark::Ours(rest.into()),
            "@resp3" if rest.is_empty() => Mark::Resp3(vec![String::new()]),
            "@resp3" => Mark::Resp3(rest.split_whitespace().map(String::from).collect()),
            "@unordered" if rest.is_empty() => Mark::Unordered(1),
            "@unordered" if rest == "rows" => Mark::UnorderedRows,
            "@unordered" => Mark::Unordered(rest.parse().map_err(|_| "@unordered [N | rows]")?),
            "@approx" => Mark::Approx(rest.parse().map_err(|_| "@approx needs a number")?),
            "@match" => Mark::Match,
            "@save" if !rest.is_empty() => Mark::Save(rest.into()),
            _ => return Err(format!("unknown mark {text}")),
        })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mark::Since(v) => write!(f, "@since {}.{}", v / 100, v % 100),
            Mark::Ours(reason) => write!(f, "@ours {reason}"),
            Mark::Resp3(names) => write!(f, "{}", format!("@resp3 {}", names.join(" ")).trim_end()),
            Mark::Unordered(1) => write!(f, "@unordered"),
            Mark::Unordered(n) => write!(f, "@unordered {n}"),
            Mark::UnorderedRows => write!(f, "@unordered rows"),
            Mark::Approx(n) => write!(f, "@approx {n}"),
            Mark::Match => write!(f, "@match"),
            Mark::Save(name) => write!(f, "@save {name}"),
        }
    }
}

/// `7.4.2` as 704.
pub fn version(text: &str) -> Option<u32> {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    Some(parts.next()?? * 100 + parts.next().flatten().unwrap_or(0))
}

/// Parses a file; the message names the line.
pub fn session(text: &str) -> Result<Session, String> {
    let mut blocks = Vec::new();
    let mut items: Vec<Item> = Vec::new();
    let mut file_marks = Vec::new();
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line)).peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() {
            finish(&mut items, &mut blocks, &mut file_marks);
            continue;
        }
        let mut below = |indent: usize| {
            let mut expected = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| is_reply(line)) {
                let spaces = line.len() - line.trim_start_matches(' ').len();
                expected.push(line[indent.min(spaces)..].trim_end().to_string());
            }
            expected
        };
        let what = statement(line, &mut below).map_err(|why| format!("line {number}: {why}"))?;
        items.push(Item { line: number, what });
    }
    finish(&mut items, &mut blocks, &mut file_marks);
    Ok(Session { blocks })
}

fn finish(items: &mut Vec<Item>, blocks: &mut Vec<Block>, file_marks: &mut Vec<Mark>) {
    if items.is_empty() {
        return;
    }
    let mut block = Block { items: std::mem::take(items), scope: Vec::new() };
    let (mut pending, mut spoken) = (Vec::new(), Vec::new());
    let mut begun = false;
    for item in &mut block.items {
        match &mut item.what {
            What::Mark(mark @ Mark::Resp3(_)) => spoken.push(mark.clone()),
            What::Mark(mark) if !begun && mark.is_scope() => block.scope.push(mark.clone()),
            What::Mark(mark) => pending.push(mark.clone()),
            What::Send(send) => {
                send.marks = std::mem::take(&mut pending);
                begun = true;
            }
            What::Receive { marks, .. } => *marks = std::mem::take(&mut pending),
            What::Comment(_) => {}
            _ => begun = true,
        }
    }
    if block.acts() {
        let own = std::mem::replace(&mut block.scope, file_marks.clone());
        block.scope.extend(own);
    } else {
        file_marks.extend(block.scope.iter().cloned().chain(spoken));
    }
    blocks.push(block);
}

fn statement(line: &str, below: &mut dyn FnMut(usize) -> Vec<String>) -> Result<What, String> {
    if line.starts_with('#') {
        return Ok(What::Comment(line.into()));
    }
    if line.starts_with('@') {
        return Mark::parse(line.trim_end()).map(What::Mark);
    }
    if let Some(step) = line.strip_prefix("clock +") {
        return duration(step.trim()).map(What::Clock);
    }
    if let Some(name) = line.strip_prefix("close ") {
        return Ok(What::Close(name.trim().into()));
    }
    let (name, sign, rest) = signed(line).ok_or_else(|| format!("not a statement: {line}"))?;
    if sign == "<" {
        let mut expected = vec![rest.to_string()];
        expected.extend(below(name.len() + 2));
        let marks = Vec::new();
        return Ok(What::Receive { client: name.into(), expected, marks });
    }
    let (client, times) = match name.split_once('*') {
        Some((client, n)) => (client, n.parse().map_err(|_| format!("how often is {n}?"))?),
        None => (name, 1),
    };
    Ok(What::Send(Send {
        client: client.into(),
        words: words::split(rest)?,
        text: rest.trim().into(),
        raw: sign == ">>",
        times,
        expected: below(0),
        marks: Vec::new(),
    }))
}

/// `name> rest`, `name>> rest` or `name< rest`.
fn signed(line: &str) -> Option<(&str, &str, &str)> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && !"_*".contains(c))?;
    let (name, rest) = line.split_at(end);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let sign = [">>", ">", "<"].into_iter().find(|sign| rest.starts_with(sign))?;
    let after = &rest[sign.len()..];
    after.strip_prefix(' ').map(|after| (name, sign, after))
}

fn is_reply(line: &str) -> bool {
    let blank = line.trim().is_empty();
    let other = line.starts_with(['#', '@'])
        || line.starts_with("clock +")
        || line.starts_with("close ")
        || signed(line).is_some();
    !blank && !other
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("clock +{text}?"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(60 * number)),
        "h" => Ok(Duration::from_secs(3600 * number)),
        "d" => Ok(Duration::from_secs(86_400 * number)),
        _ => Err(format!("clock +{text}: ms, s, m, h or d")),
    }
}

#[test]
fn statements_marks_and_replies_are_told_apart() {
    let text =
        "@since 7.4\n\n# head\n@ours why\n> SET k v\nOK\n@approx 5\na*3> PTTL k\n(integer) 5\n\
        a< 1) \"q\"\n   2) 1) \"x\"\nclock +11s\n>> \"PI\"\n\n> GET k\n1> \"x\"\n";
    let session = session(text).unwrap();
    assert_eq!(session.blocks.len(), 3);
    let block = &session.blocks[1];
    assert_eq!(block.scope, [Mark::Since(704), Mark::Ours("why".into())]);
    let What::Send(pttl) = &block.items[4].what else { panic!("not a command") };
    assert_eq!((pttl.client.as_str(), pttl.times), ("a", 3));
    assert_eq!(pttl.marks, [Mark::Approx(5.0)]);
    let What::Receive { expected, .. } = &block.items[5].what else { panic!("not a push") };
    assert_eq!(expected, &["1) \"q\"", "2) 1) \"x\""]);
    assert!(matches!(&block.items[6].what, What::Clock(step) if step.as_secs() == 11));
    let What::Send(raw) = &block.items[7].what else { panic!("not raw") };
    assert!(raw.raw && raw.expected.is_empty());
    let What::Send(get) = &session.blocks[2].items[0].what else { panic!("not a command") };
    assert_eq!(get.expected, ["1> \"x\""]);
    assert_eq!(super::record::render(&session), text);
}
