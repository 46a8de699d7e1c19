//! The integration tests, one binary so that there is one link.
//!
//! They judge the server from outside: the client here shares no code with the crate.
//!
//! * [`sessions`] runs `tests/sessions/**/*.session` on ours and on a genuine server.
//! * [`config`] compares the table of directives.
//! * [`tidy`] keeps the source in shape.
//!
//! `REDIS_SERVER` names a genuine server's command line (`redis-server`, or
//! `chroot /somewhere redis-server`); without it the checks that need one say that they skip.

mod agree;
mod anew;
mod append_only;
mod blocks;
mod buffers;
mod busy;
mod bytes;
mod clients;
mod command_table;
mod config;
mod connections;
mod crowd;
mod cut_off;
mod deadline_log;
mod differential;
mod early;
mod embedded;
mod exchange;
mod failovers;
mod freeing;
mod full_disks;
mod generate;
mod grammar;
mod hardening;
mod kills;
mod largest;
mod lent;
mod link;
mod loading;
mod long_strings;
mod memory;
mod moments;
mod odd_bytes;
mod operation;
mod patience;
mod play;
mod printed;
mod process;
mod pushes;
mod replay;
mod replication;
mod resident;
mod rests;
mod rewrites;
mod rights;
mod scripts;
mod secrets;
mod server;
mod session;
mod sessions;
mod show;
mod sorted_set_log;
mod strangers;
mod tidy;
mod tls;
mod turns;
mod unasked;
mod untouched;
mod users;
mod waiters;
mod watched;
mod wire;
mod words;
