//! INFO commandstats, errorstats and latencystats.

use super::Report;
use crate::state::State;
use crate::stats::CommandStats;

pub(super) fn commandstats(report: &mut Report, state: &mut State) {
    report.title("Commandstats");
    for (name, stats) in by_name(state) {
        let CommandStats { calls, total_ns, rejected, failed, .. } = stats;
        if *calls == 0 && *rejected == 0 && *failed == 0 {
            continue;
        }
        let us = total_ns / 1000;
        let per_call = if *calls == 0 { 0.0 } else { us as f64 / *calls as f64 };
        report.field(
            format_args!("cmdstat_{name}"),
            format_args!(
                "calls={calls},usec={us},usec_per_call={per_call:.2},\
                 rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

pub(super) fn errorstats(report: &mut Report, state: &mut State) {
    report.title("Errorstats");
    for (code, count) in state.stats.errors() {
        report.named("errorstat_", code, format_args!("count={count}"));
    }
}

pub(super) fn latencystats(report: &mut Report, state: &mut State) {
    report.title("Latencystats");
    let settings = state.config.settings();
    if !settings.latency_tracking {
        return;
    }
    for (name, stats) in by_name(state) {
        let Some(times) = &stats.times else { continue };
        let percentiles = settings.latency_percentiles.iter().map(|percent| {
            let us = times.percentile_ns(*percent) as f64 / 1000.0;
            format!("p{percent}={us:.3}")
        });
        let list = percentiles.collect::<Vec<_>>().join(",");
        report.field(format_args!("latency_percentiles_usec_{name}"), list);
    }
}

/// Commands and subcommands in order of their names.
fn by_name(state: &State) -> impl Iterator<Item = (&'static str, &CommandStats)> {
    let specs = crate::commands::table().specs.iter();
    let mut all: Vec<(&'static str, &CommandStats)> = specs
        .filter_map(|spec| Some((spec.name.as_str(), state.stats.commands.get(spec.id)?)))
        .collect();
    all.sort_unstable_by_key(|(name, _)| *name);
    all.into_iter()
}
