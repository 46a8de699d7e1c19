//! Writes a session back as text, and with the replies of a genuine server in it.

use super::compare::{agrees, shown};
use super::parse::{Block, Item, Mark, Send, Session, What};
use super::run::Seen;

/// The text of a session; parsing it gives the same session.
pub fn render(session: &Session) -> String {
    let blocks = session.blocks.iter().map(|block| {
        let lines = block.items.iter().flat_map(item_lines);
        lines.map(|line| line + "\n").collect::<String>()
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn item_lines(item: &Item) -> Vec<String> {
    match &item.what {
        What::Comment(text) => vec![text.clone()],
        What::Mark(mark) => vec![mark.to_string()],
        What::Close(client) => vec![format!("close {client}")],
        What::Clock(step) if step.subsec_millis() > 0 => {
            vec![format!("clock +{}ms", step.as_millis())]
        }
        What::Clock(step) => vec![format!("clock +{}s", step.as_secs())],
        What::Send(send) => {
            let times = if send.times > 1 { format!("*{}", send.times) } else { String::new() };
            let sign = if send.raw { ">>" } else { ">" };
            let mut lines = vec![format!("{}{times}{sign} {}", send.client, send.text)];
            lines.extend(send.expected.iter().cloned());
            lines
        }
        What::Receive { client, expected, .. } => {
            let prefix = format!("{client}< ");
            let indent = " ".repeat(prefix.len());
            let first = |row| if row == 0 { &prefix } else { &indent };
            expected.iter().enumerate().map(|(row, line)| format!("{}{line}", first(row))).collect()
        }
    }
}

/// Puts what was seen into the block; replies that agree already keep their text. Items that were
/// not run keep theirs.
pub fn fill(block: &mut Block, seen: &[(usize, Seen)]) {
    let old = std::mem::take(&mut block.items);
    let is_replaced =
        |at: usize| seen.iter().any(|(of, seen)| *of == at && matches!(seen, Seen::Replaced));
    let mut expectations: Vec<(String, Vec<String>, Vec<Mark>)> = Vec::new();
    for (at, item) in old.iter().enumerate() {
        if let What::Receive { client, expected, marks } = &item.what {
            if is_replaced(at) {
                expectations.push((client.clone(), expected.clone(), marks.clone()));
            }
        }
    }
    for (at, mut item) in old.into_iter().enumerate() {
        let events = || seen.iter().filter(|(of, _)| *of == at).map(|(_, seen)| seen);
        if let What::Send(send) = &mut item.what {
            for event in events() {
                fill_reply(send, event);
            }
        }
        if is_replaced(at) {
            while block.items.last().is_some_and(|item| matches!(item.what, What::Mark(_))) {
                block.items.pop();
            }
        } else {
            block.items.push(item);
        }
        for event in events() {
            let Seen::Late(client, reply) = event else { continue };
            let known = expectations.iter().position(|(of, expected, marks)| {
                of == client && agrees(expected, &shown(reply, marks), marks)
            });
            let (expected, marks) = match known {
                Some(known) => {
                    let (_, expected, marks) = expectations.remove(known);
                    (expected, marks)
                }
                None => (shown(reply, &[]), Vec::new()),
            };
            let mark_items =
                marks.iter().map(|mark| Item { line: 0, what: What::Mark(mark.clone()) });
            block.items.extend(mark_items);
            let what = What::Receive { client: client.clone(), expected, marks };
            block.items.push(Item { line: 0, what });
        }
    }
}

fn fill_reply(send: &mut Send, event: &Seen) {
    match event {
        Seen::Reply(reply) => {
            let lines = shown(reply, &send.marks);
            if send.expected.is_empty() || !agrees(&send.expected, &lines, &send.marks) {
                send.expected = lines;
            }
        }
        Seen::Silence => send.expected.clear(),
        _ => {}
    }
}
