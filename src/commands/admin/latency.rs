//! LATENCY: slow moments, and how the times of commands are spread.

use crate::command::{client, container, Args, Call, Row};
use crate::commands::help;
use crate::error::Error;
use crate::error::Result;
use crate::resp::out::{Done, Out};
use crate::stats::histogram::Histogram;

/// The rows of LATENCY.
pub const ROWS: &[Row] = &[
    container("LATENCY")
        .since("2.8.13")
        .about("Slow moments of the server.")
        .cost("Depends on the subcommand."),
    client("LATENCY|DOCTOR", doctor)
        .admin()
        .noscript()
        .loading()
        .stale()
        .varies()
        .route("all_nodes", "special")
        .since("2.8.13")
        .cost("O(1)")
        .about("Explains slow moments in plain words."),
    client("LATENCY|GRAPH event", graph)
        .admin()
        .noscript()
        .loading()
        .stale()
        .varies()
        .route("all_nodes", "special")
        .since("2.8.13")
        .cost("O(1)")
        .about("Draws the slow moments of an event."),
    client("LATENCY|HELP", latency_help)
        .loading()
        .stale()
        .since("2.8.13")
        .cost("O(1)")
        .about("Lists the subcommands."),
    client("LATENCY|HISTOGRAM [command [command ...]]", histogram)
        .admin()
        .noscript()
        .loading()
        .stale()
        .varies()
        .route("all_nodes", "special")
        .since("7.0.0")
        .cost("O(N) where N is the number of commands")
        .about("Replies with the spread of the times of commands."),
    client("LATENCY|HISTORY event", history)
        .admin()
        .noscript()
        .loading()
        .stale()
        .varies()
        .route("all_nodes", "special")
        .since("2.8.13")
        .cost("O(1)")
        .about("Replies with the slow moments of an event."),
    client("LATENCY|LATEST", latest)
        .admin()
        .noscript()
        .loading()
        .stale()
        .varies()
        .route("all_nodes", "special")
        .since("2.8.13")
        .cost("O(1)")
        .about("Replies with the last slow moment of each event."),
    client("LATENCY|RESET [event [event ...]]", reset)
        .admin()
        .noscript()
        .loading()
        .stale()
        .route("all_nodes", "agg_sum")
        .since("2.8.13")
        .cost("O(1)")
        .about("Forgets slow moments."),
];

fn doctor(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let threshold_ms = call.state.config.settings().latency_monitor_threshold_ms;
    let text = call.state.stats.latency.report(threshold_ms);
    Ok(out.verbatim("txt", text.as_bytes()))
}

fn graph(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let event = args.bytes();
    let now_s = call.state.clock.now_ms().div_euclid(1000);
    match call.state.stats.latency.graph(event, now_s) {
        Some(text) => Ok(out.verbatim("txt", text.as_bytes())),
        None => Err(Error::showing("ERR No samples available for event '{}'", &[event])),
    }
}

fn history(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let Some(series) = call.state.stats.latency.series(args.bytes()) else {
        return Ok(out.array(0).end());
    };
    let samples = series.samples();
    let mut items = out.array(samples.len());
    for sample in samples {
        items.array(2);
        items.int(sample.at_s);
        items.int(sample.took_ms as i64);
    }
    Ok(items.end())
}

fn latest(call: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let events = call.state.stats.latency.iter();
    let mut items = out.array(events.len());
    for (event, series) in events {
        let last = series.latest();
        items.array(4);
        items.text(event);
        items.int(last.map_or(0, |sample| sample.at_s));
        items.int(last.map_or(0, |sample| sample.took_ms as i64));
        items.int(series.max_ms() as i64);
    }
    Ok(items.end())
}

fn reset(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let latency = &mut call.state.stats.latency;
    let forgotten = if args.is_done() {
        latency.clear()
    } else {
        args.rest().iter().filter(|event| latency.forget(event)).count()
    };
    Ok(out.int(forgotten as i64))
}

fn histogram(call: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    let table = crate::commands::table();
    let stats = &call.state.stats;
    let times = |id: usize| stats.commands.get(id).and_then(|command| command.times.as_deref());
    let mut wanted: Vec<usize> = Vec::new();
    if args.is_done() {
        wanted.extend(0..table.specs.len());
    }
    for name in args.rest() {
        let Some(spec) = table.named(name) else { continue };
        wanted.push(spec.id);
        let mut subcommands: Vec<usize> = spec.subcommands.values().copied().collect();
        subcommands.sort_unstable();
        wanted.extend(subcommands);
    }
    let shown: Vec<(&str, &Histogram)> = wanted
        .iter()
        .filter_map(|id| Some((table.specs[*id].name.as_str(), times(*id)?)))
        .collect();
    let mut items = out.map(shown.len());
    for (name, times) in shown {
        let steps = times.steps();
        items.text(name);
        items.map(2);
        items.text("calls");
        items.int(times.total() as i64);
        items.text("histogram_usec");
        items.map(steps.len());
        for (us, count) in steps {
            items.int(us as i64);
            items.int(count as i64);
        }
    }
    Ok(items.end())
}

fn latency_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(help(
        args,
        out,
        &[
            ("DOCTOR", &["Return a human readable latency analysis report."]),
            ("GRAPH <event>", &["Return an ASCII latency graph for the <event> class."]),
            ("HISTORY <event>", &["Return time-latency samples for the <event> class."]),
            ("LATEST", &["Return the latest latency samples for all events."]),
            (
                "RESET [<event> ...]",
                &[
                    "Reset latency data of one or more <event> classes.",
                    "(default: reset all data for all event classes)",
                ],
            ),
            (
                "HISTOGRAM [COMMAND ...]",
                &[
                    "Return a cumulative distribution of latencies in the format of a \
                     histogram for the specified command names.",
                    "If no commands are specified then all histograms are replied.",
                ],
            ),
        ],
    ))
}
