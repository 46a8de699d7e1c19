//! How soon a replica has the next byte after its primary can be reached again: whoever stood in
//! between turned it away, nobody listened, or the primary itself was gone.
//!
//! `RECONNECTS=100 cargo test --test it reconnect -- --nocapture` shows how the times are spread;
//! the short run shows that it goes on where it was.

use std::thread::sleep;
use std::time::{Duration, Instant};

use redouble::resp::reader::Value;
use redouble::{Builder, Server};

use super::{builder, in_sync, info, start, wait_until};
use crate::differential::number;
use crate::generate::Rng;
use crate::link::Link;
use crate::server::free_port;

/// Prints how the times are spread.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_millis();
    let [median, most, longest] = [50, 95, 100].map(at);
    println!(
        "{what}: {} times, the next byte after: median {median} ms, 95 % within {most} ms, \
         longest {longest} ms",
        times.len()
    );
}

/// When the replica has what was written meanwhile.
fn arrival(replica: &Server, value: &str) -> Instant {
    let wanted = Value::Bulk(value.as_bytes().to_vec());
    loop {
        if replica.command(&["GET", "missed"]) == wanted {
            return Instant::now();
        }
        sleep(Duration::from_micros(200));
    }
}

fn outage(rng: &mut Rng) {
    sleep(Duration::from_millis(50 + rng.below(400) as u64));
}

#[test]
fn reconnect_through_who_turned_it_away_or_did_not_listen() {
    let primary = start(builder());
    let link = Link::to(primary.addr().expect("an address"));
    let replica = start(builder().replica_of(link.addr()));
    in_sync(&primary, &replica);
    let mut rng = Rng(number("SEED", 1) as u64);
    let rounds = number("RECONNECTS", 3);
    for (what, listens) in [("turned away", true), ("nobody listens", false)] {
        let mut times = Vec::new();
        for round in 0..rounds {
            if listens {
                link.refuse(true);
            } else {
                link.shut();
            }
            let value = format!("{what} {round}");
            primary.command(&["SET", "missed", &value]);
            outage(&mut rng);
            if listens {
                link.refuse(false);
            } else {
                link.open();
            }
            let began = Instant::now();
            times.push(arrival(&replica, &value) - began);
        }
        report(what, times);
    }
    in_sync(&primary, &replica);
    assert_eq!(info(&primary, "sync_full"), "1");
}

#[test]
fn reconnect_to_a_primary_that_was_gone() {
    let dir = std::env::temp_dir().join(format!("redouble-reconnect-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let port = free_port().expect("a port").to_string();
    let kept = || -> Builder {
        builder().config("dir", dir.to_str().expect("a path")).config("port", &port)
    };
    let mut primary = start(kept());
    let address = primary.addr().expect("an address");
    let replica = start(builder().replica_of(address));
    in_sync(&primary, &replica);
    let mut rng = Rng(number("SEED", 1) as u64);
    let mut times = Vec::new();
    for round in 0..number("RECONNECTS", 3) {
        let value = format!("gone {round}");
        primary.save().expect("it saves");
        drop(primary);
        outage(&mut rng);
        primary = start(kept());
        let began = Instant::now();
        primary.command(&["SET", "missed", &value]);
        times.push(arrival(&replica, &value) - began);
        in_sync(&primary, &replica);
        wait_until("a partial resync", || info(&primary, "sync_partial_ok") == "1");
        assert_eq!(info(&primary, "sync_full"), "0");
    }
    report("gone", times);
    drop((primary, replica));
    let _ = std::fs::remove_dir_all(&dir);
}
