//! A synopsis line as a tree: what random commands are made from.
//!
//! `[ ]` is optional, `< | >` a choice, `...` repeats what stands before it in its bracket. Words
//! in capitals (and signs) are literal, the others are placeholders. This is a reading of its own,
//! so that a fault in the server's parser of the same lines shows.

/// One part of a command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// `LIMIT`, `=`, `*`
    Word(String),
    /// `key`, `score`
    Name(String),
    /// `[ ... ]`
    Optional(Box<Part>),
    /// `a | b`
    Choice(Vec<Part>),
    /// Parts in a row.
    Row(Vec<Part>),
    /// Once or more.
    Repeat(Box<Part>),
}

/// The command's words (`["CLIENT", "KILL"]`) and its arguments.
#[derive(Clone, Debug)]
pub struct Synopsis {
    /// Literal words at the front.
    pub name: Vec<String>,
    /// What follows.
    pub arguments: Part,
}

/// Parses a synopsis line.
pub fn synopsis(line: &str) -> Synopsis {
    let spaced = ["[", "]", "<", ">", "|"]
        .into_iter()
        .fold(line.to_string(), |line, sign| line.replace(sign, &format!(" {sign} ")));
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let row = match alternatives(&tokens, &mut at) {
        Part::Row(parts) => parts,
        part => vec![part],
    };
    assert_eq!(at, tokens.len(), "unbalanced: {line}");
    let words = row.iter().take_while(|part| matches!(part, Part::Word(_))).count();
    // Only containers have a second word that is their own: `CLIENT KILL`, not `LOLWUT VERSION`.
    let name = row[..words].iter().map(|part| match part {
        Part::Word(word) => word.clone(),
        _ => String::new(),
    });
    Synopsis { name: name.collect(), arguments: Part::Row(row[words..].to_vec()) }
}

fn alternatives(tokens: &[&str], at: &mut usize) -> Part {
    let mut choices = vec![row(tokens, at)];
    while tokens.get(*at) == Some(&"|") {
        *at += 1;
        choices.push(row(tokens, at));
    }
    if choices.len() == 1 {
        return choices.remove(0);
    }
    Part::Choice(choices)
}

fn row(tokens: &[&str], at: &mut usize) -> Part {
    let mut parts = Vec::new();
    while let Some(&token) = tokens.get(*at) {
        match token {
            "]" | ">" | "|" => break,
            "[" | "<" => {
                *at += 1;
                let inside = alternatives(tokens, at);
                parts.push(if token == "[" { Part::Optional(Box::new(inside)) } else { inside });
            }
            "..." => {
                let repeated = Part::Row(std::mem::take(&mut parts));
                parts.push(Part::Repeat(Box::new(repeated)));
            }
            _ if is_literal(token) => parts.push(Part::Word(token.trim_matches('"').into())),
            _ => parts.push(Part::Name(token.into())),
        }
        *at += 1;
    }
    if parts.len() == 1 {
        return parts.remove(0);
    }
    Part::Row(parts)
}

fn is_literal(token: &str) -> bool {
    !token.chars().any(|c| c.is_ascii_lowercase())
}

#[test]
fn brackets_choices_and_repeats_are_understood() {
    let zadd = synopsis("ZADD key [NX | XX] score member [score member ...]");
    assert_eq!(zadd.name, ["ZADD"]);
    let name = |name: &str| Part::Name(name.into());
    let word = |word: &str| Part::Word(word.into());
    let pair = Part::Row(vec![name("score"), name("member")]);
    let expected = Part::Row(vec![
        name("key"),
        Part::Optional(Box::new(Part::Choice(vec![word("NX"), word("XX")]))),
        name("score"),
        name("member"),
        Part::Optional(Box::new(Part::Repeat(Box::new(pair)))),
    ]);
    assert_eq!(zadd.arguments, expected);
    assert_eq!(synopsis("CLIENT NO-EVICT <ON | OFF>").name, ["CLIENT", "NO-EVICT"]);
}
