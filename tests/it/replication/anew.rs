//! Replicas of a server that is reset, or gets other data: they come to hold what it holds.

use super::{builder, in_sync, start, wait_until};
use redouble::resp::reader::Value;

#[test]
fn a_replica_forgets_what_its_primary_has_reset() {
    let primary = start(builder());
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    primary.command(&["SET", "old", "x"]);
    wait_until("the key", || replica.command(&["GET", "old"]) == "x");
    primary.reset();
    wait_until("the end of the key", || replica.command(&["GET", "old"]) == Value::Null);
    primary.command(&["SET", "new", "x"]);
    in_sync(&primary, &replica);
}

#[test]
fn a_replica_comes_back_to_its_primary_with_a_reset() {
    let primary = start(builder());
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    primary.command(&["SET", "key", "x"]);
    wait_until("the key", || replica.command(&["GET", "key"]) == "x");
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    replica.command(&["SET", "own", "x"]);
    replica.reset();
    in_sync(&primary, &replica);
    assert_eq!(replica.command(&["KEYS", "*"]), ["key"]);
}

#[test]
fn a_replica_has_what_its_primary_has_restored() {
    let source = start(builder());
    source.command(&["SET", "new", "x"]);
    let primary = start(builder());
    let replica = start(builder().replica_of(primary.addr().expect("an address")));
    primary.command(&["SET", "old", "x"]);
    wait_until("the key", || replica.command(&["GET", "old"]) == "x");
    primary.restore(&source.snapshot().expect("a snapshot")).expect("it is whole");
    wait_until("the other data", || replica.command(&["KEYS", "*"]) == ["new"]);
    in_sync(&primary, &replica);
}
