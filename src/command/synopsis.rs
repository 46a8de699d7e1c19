//! Reads a synopsis line into a tree.
//!
//! The notation is that of Redis's documentation: words in upper case are literal, words in lower
//! case are places for arguments, `[x]` is optional, `<a | b>` and `[a | b]` are choices, and
//! `...` at the end of an optional group that repeats what stands before it means "any number".

/// A piece of a synopsis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A literal word.
    Word(String),
    /// A place for an argument, by its name.
    Hole(String),
    /// One of several sequences.
    Group {
        /// What to choose from.
        choices: Vec<Vec<Node>>,
        /// It may be left out.
        optional: bool,
        /// It may come again.
        repeats: bool,
    },
}

/// The name (`client|kill`, in lower case) and the arguments of a synopsis line.
pub fn parse(synopsis: &str) -> (String, Vec<Node>) {
    let (name, rest) = synopsis.split_once(' ').unwrap_or((synopsis, ""));
    let spaced = ["[", "]", "<", ">", "|"]
        .iter()
        .fold(rest.to_string(), |text, mark| text.replace(mark, &format!(" {mark} ")));
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let nodes = choices(&words, &mut at).0.swap_remove(0);
    (name.to_ascii_lowercase(), nodes)
}

/// Sequences separated by `|` up to the closing mark; and whether `...` stood at the end.
fn choices(words: &[&str], at: &mut usize) -> (Vec<Vec<Node>>, bool) {
    let mut all = vec![Vec::new()];
    let mut repeats = false;
    while let Some(&word) = words.get(*at) {
        *at += 1;
        let last = all.len() - 1;
        match word {
            "]" | ">" => break,
            "|" => all.push(Vec::new()),
            "..." => repeats = true,
            "[" | "<" => {
                let (choices, repeats) = choices(words, at);
                push_group(&mut all[last], choices, word == "[", repeats);
            }
            _ if word.starts_with(|c: char| c.is_ascii_lowercase()) => {
                all[last].push(Node::Hole(word.to_string()))
            }
            _ => all[last].push(Node::Word(word.to_string())),
        }
    }
    (all, repeats)
}

/// `x [x ...]` becomes one group that repeats; anything else a group of its own.
fn push_group(into: &mut Vec<Node>, choices: Vec<Vec<Node>>, optional: bool, repeats: bool) {
    if repeats && choices.len() == 1 {
        let len = choices[0].len();
        if into.len() >= len && into[into.len() - len..] == choices[0][..] {
            into.truncate(into.len() - len);
            into.push(Node::Group { choices, optional: false, repeats: true });
            return;
        }
        // `<a | b> [<a | b> ...]`
        if let (
            [Node::Group { choices: inner, .. }],
            Some(Node::Group { choices: before, repeats, .. }),
        ) = (&choices[0][..], into.last_mut())
        {
            if inner == before {
                *repeats = true;
                return;
            }
        }
    }
    into.push(Node::Group { choices, optional, repeats });
}

/// Words that a node takes at least, and whether it can take more.
pub fn extent(node: &Node) -> (usize, bool) {
    match node {
        Node::Word(_) | Node::Hole(_) => (1, false),
        Node::Group { choices, optional, repeats } => {
            let sizes: Vec<(usize, bool)> = choices.iter().map(|nodes| extents(nodes)).collect();
            let least = sizes.iter().map(|size| size.0).min().unwrap_or(0);
            let differ = sizes.iter().any(|size| size.1 || size.0 != least);
            (if *optional { 0 } else { least }, *optional || *repeats || differ)
        }
    }
}

/// The same for a sequence.
pub fn extents(nodes: &[Node]) -> (usize, bool) {
    nodes.iter().map(extent).fold((0, false), |sum, one| (sum.0 + one.0, sum.1 || one.1))
}
