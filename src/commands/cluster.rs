//! Cluster mode's commands, on a server that is not in a cluster: each says so. Clients probe them
//! to find out with whom they speak.

use crate::command::{client, container, flag, Args, Call, Family, Row};
use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};

/// The family.
pub const FAMILY: Family = Family { group: "cluster", rows: ROWS };

/// A subcommand, which holds off neither a stale replica nor anybody who looks.
const fn row(synopsis: &'static str) -> Row {
    client(synopsis, disabled).stale().since("3.0.0").cost("O(1)")
}

/// A subcommand that changes the cluster.
const fn change(synopsis: &'static str) -> Row {
    row(synopsis).admin().flags(flag::NO_ASYNC_LOADING)
}

const ROWS: &[Row] = &[
    client("ASKING", disabled)
        .fast()
        .since("3.0.0")
        .cost("O(1)")
        .about("Lets the next command through to a slot that is being imported."),
    client("READONLY", disabled)
        .fast()
        .loading()
        .stale()
        .since("3.0.0")
        .cost("O(1)")
        .about("Lets the connection read from a replica of a cluster."),
    client("READWRITE", disabled)
        .fast()
        .loading()
        .stale()
        .since("3.0.0")
        .cost("O(1)")
        .about("Takes back READONLY."),
    container("CLUSTER").since("3.0.0").cost("Depends on the subcommand").about("The cluster."),
    change("CLUSTER|ADDSLOTS slot [slot ...]")
        .cost("O(N) where N is the number of slots")
        .about("Gives slots to this node."),
    change("CLUSTER|ADDSLOTSRANGE start-slot end-slot [start-slot end-slot ...]")
        .since("7.0.0")
        .cost("O(N) where N is the number of slots")
        .about("Gives ranges of slots to this node."),
    change("CLUSTER|BUMPEPOCH").varies().about("Raises the configuration epoch."),
    row("CLUSTER|COUNT-FAILURE-REPORTS node-id")
        .admin()
        .varies()
        .cost("O(N) where N is the number of reports")
        .about("Replies with the number of nodes that cannot reach a node."),
    row("CLUSTER|COUNTKEYSINSLOT slot").about("Replies with the number of keys of a slot."),
    change("CLUSTER|DELSLOTS slot [slot ...]")
        .cost("O(N) where N is the number of slots")
        .about("Forgets to whom slots belong."),
    change("CLUSTER|DELSLOTSRANGE start-slot end-slot [start-slot end-slot ...]")
        .since("7.0.0")
        .cost("O(N) where N is the number of slots")
        .about("Forgets to whom ranges of slots belong."),
    change("CLUSTER|FAILOVER [FORCE | TAKEOVER]").about("Makes this replica a primary."),
    change("CLUSTER|FLUSHSLOTS").about("Forgets to whom all slots belong."),
    change("CLUSTER|FORGET node-id").about("Forgets a node."),
    row("CLUSTER|GETKEYSINSLOT slot count")
        .varies()
        .cost("O(N) where N is the number of keys")
        .about("Replies with keys of a slot."),
    row("CLUSTER|HELP").loading().since("5.0.0").about("Explains the subcommands."),
    row("CLUSTER|INFO").varies().about("Replies with the state of the cluster."),
    row("CLUSTER|KEYSLOT key")
        .cost("O(N) where N is the length of the key")
        .keys(&[])
        .about("Replies with the slot of a key."),
    row("CLUSTER|LINKS")
        .varies()
        .since("7.0.0")
        .cost("O(N) where N is the number of nodes")
        .about("Lists the connections with other nodes."),
    change("CLUSTER|MEET ip port [cluster-bus-port]")
        .about("Makes another node known to this one."),
    row("CLUSTER|MYID").about("Replies with the name of this node."),
    row("CLUSTER|MYSHARDID")
        .varies()
        .since("7.2.0")
        .about("Replies with the name that this node shares with its replicas."),
    row("CLUSTER|NODES")
        .varies()
        .cost("O(N) where N is the number of nodes")
        .about("Replies with a line about each node."),
    row("CLUSTER|REPLICAS node-id")
        .admin()
        .varies()
        .since("5.0.0")
        .cost("O(N) where N is the number of replicas")
        .about("Replies with a line about each replica of a node."),
    change("CLUSTER|REPLICATE node-id").about("Makes this node a replica of another."),
    row("CLUSTER|RESET [HARD | SOFT]")
        .admin()
        .noscript()
        .cost("O(N) where N is the number of nodes")
        .about("Leaves the cluster."),
    change("CLUSTER|SAVECONFIG").about("Writes the configuration of the cluster to disk."),
    change("CLUSTER|SET-CONFIG-EPOCH config-epoch").about("Sets the epoch of a new node."),
    change("CLUSTER|SETSLOT slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>")
        .about("Says to whom a slot belongs, or where it moves."),
    row("CLUSTER|SHARDS")
        .loading()
        .varies()
        .since("7.0.0")
        .cost("O(N) where N is the number of nodes")
        .about("Replies with the slots and the nodes of each shard."),
    row("CLUSTER|SLAVES node-id")
        .admin()
        .varies()
        .cost("O(N) where N is the number of replicas")
        .about("The old name of CLUSTER REPLICAS."),
    row("CLUSTER|SLOTS")
        .loading()
        .varies()
        .cost("O(N) where N is the number of nodes")
        .about("Replies with ranges of slots and the nodes that serve them."),
];

fn disabled(_: &mut Call<'_>, _: &mut Args<'_>, _: Out<'_>) -> Result<Done> {
    Err(Error::of("ERR This instance has cluster support disabled"))
}
