//! What an image becomes when it is written and read again, while the data goes on changing.

use super::rdb_output::RdbOutput;
use super::sinks::MemorySink;
use crate::keyspace::db::Db;
use crate::keyspace::image::model::{assert_same, change, databases, picture, Picture};
use crate::keyspace::image::Slice;
use crate::persistence::{Output, Start, Wanted};
use crate::rdb::read::{Item, Reader, Rules};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;

fn start(db: &Db, image: crate::keyspace::image::ImageId, compress: bool) -> Start {
    Start {
        now_ms: db.now_ms(),
        outlines: db.image_outline(image),
        libraries: Vec::new(),
        redis_version: "7.4.0".to_string(),
        used_bytes: 0,
        ages: None,
        replication_id: String::new(),
        replication_offset: 0,
        compress,
        checksum: true,
        key_delay_us: Default::default(),
        wanted: Wanted::default(),
    }
}

/// The data that a file has.
fn read(bytes: &[u8], limits: &crate::types::limits::Limits) -> Picture {
    let mut db = databases(3, 0);
    let rules = Rules { limits: limits.clone(), checksum: true };
    let mut reader = Reader::open(bytes, rules).expect("a file");
    loop {
        match reader.next_item().expect("an item") {
            Item::SelectDb(index) => db.select(index as usize),
            Item::Key(loaded) => {
                let put = db.load(loaded, false);
                assert!(put.is_ok(), "a key is there twice");
            }
            Item::End => return picture(&db),
            _ => {}
        }
    }
}

#[test]
fn a_file_has_the_data_of_the_moment_when_its_snapshot_began() {
    for (seed, keys) in [(1, 8), (2, 40), (3, 500)] {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut db = databases(3, seed);
        for _ in 0..3_000 {
            change(&mut db, &mut rng, keys);
        }
        for _ in 0..60 {
            let image = db.begin_image();
            let expected = picture(&db);
            let bytes = Arc::new(Mutex::new(Vec::new()));
            let mut output = RdbOutput::new(MemorySink(bytes.clone()), Vec::new());
            output.begin(&start(&db, image, rng.random())).expect("memory takes all");
            let mut more = true;
            while more {
                let mut pieces = Vec::new();
                let slice = Slice { keys: rng.random_range(1..40), bytes: 4096 };
                more = db.take_pieces(image, slice, &mut pieces).more;
                output.take(&pieces).expect("memory takes all");
                for _ in 0..rng.random_range(0..20) {
                    db.set_now_ms(db.now_ms() + rng.random_range(0..2));
                    change(&mut db, &mut rng, keys);
                }
            }
            while db.end_image(image).is_some() {}
            output.finish().expect("memory takes all");
            assert_same(&read(&bytes.lock(), &db.limits), &expected);
        }
    }
}
