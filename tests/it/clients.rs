//! The Rust `redis` crate, unmodified, against our server over RESP2 and RESP3.

use redis::{Commands, Connection, ErrorKind, RedisResult, Value};

use crate::server::Ours;

fn connection(server: &Ours, protocol: &str) -> Connection {
    let url = format!("{}/?protocol={protocol}", server.handle().url());
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

#[test]
fn the_redis_crate_works_over_both_protocols() {
    for protocol in ["resp2", "resp3"] {
        let server = Ours::start(&[]).unwrap();
        let mut con = connection(&server, protocol);
        strings(&mut con).unwrap();
        collections(&mut con).unwrap();
        transactions(&mut con).unwrap();
        blocking(&mut con, connection(&server, protocol)).unwrap();
        publishing(&mut con, connection(&server, protocol)).unwrap();
    }
}

fn strings(con: &mut Connection) -> RedisResult<()> {
    con.set::<_, _, ()>("k", "v")?;
    assert_eq!(con.get::<_, String>("k")?, "v");
    assert_eq!(con.get::<_, Option<String>>("none")?, None);
    con.set_ex::<_, _, ()>("t", b"\x00\xff\r\n".as_slice(), 100)?;
    assert_eq!(con.get::<_, Vec<u8>>("t")?, b"\x00\xff\r\n");
    assert!((90..=100).contains(&con.ttl::<_, i64>("t")?));
    assert_eq!(con.incr::<_, _, i64>("n", 41)?, 41);
    assert_eq!(con.mget::<_, Vec<Option<String>>>(&["k", "none"])?, [Some("v".into()), None]);
    let mut keys: Vec<String> = con.scan::<String>()?.collect::<RedisResult<_>>()?;
    keys.sort();
    assert_eq!(keys, ["k", "n", "t"]);
    let refused = con.lpush::<_, _, i64>("k", "x").unwrap_err();
    assert_eq!(refused.code(), Some("WRONGTYPE"));
    let unknown = redis::cmd("NONSENSE").query::<Value>(con).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Server(redis::ServerErrorKind::ResponseError));
    Ok(())
}

fn collections(con: &mut Connection) -> RedisResult<()> {
    assert_eq!(con.rpush::<_, _, i64>("l", &["a", "b"])?, 2);
    assert_eq!(con.lrange::<_, Vec<String>>("l", 0, -1)?, ["a", "b"]);
    con.hset_multiple::<_, _, _, ()>("h", &[("f", 1), ("g", 2)])?;
    let hash: std::collections::BTreeMap<String, i64> = con.hgetall("h")?;
    assert_eq!(hash.into_iter().collect::<Vec<_>>(), [("f".to_string(), 1), ("g".to_string(), 2)]);
    con.sadd::<_, _, ()>("s", &["a", "b"])?;
    assert!(con.sismember::<_, _, bool>("s", "a")?);
    con.zadd_multiple::<_, _, _, ()>("z", &[(1.0, "a"), (2.5, "b")])?;
    let scored: Vec<(String, f64)> = con.zrange_withscores("z", 0, -1)?;
    assert_eq!(scored, [("a".into(), 1.0), ("b".into(), 2.5)]);
    let entries: Value = redis::cmd("XADD").arg("x").arg("1-1").arg("f").arg("v").query(con)?;
    assert_eq!(entries, Value::BulkString(b"1-1".to_vec()));
    Ok(())
}

fn transactions(con: &mut Connection) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    pipe.atomic().set("p", 1).ignore().incr("p", 1).get("p");
    assert_eq!(pipe.query::<(i64, String)>(con)?, (2, "2".into()));
    let mut many = redis::pipe();
    for i in 0..1000 {
        many.set(format!("many{i}"), i).ignore();
    }
    many.query::<()>(con)?;
    assert_eq!(redis::cmd("DBSIZE").query::<i64>(con)?, 1000 + 9);
    redis::transaction(con, &["p"], |con, pipe| -> RedisResult<Option<()>> {
        let now: i64 = con.get("p")?;
        pipe.set("p", now + 1).query(con)
    })?;
    assert_eq!(con.get::<_, i64>("p")?, 3);
    Ok(())
}

fn blocking(con: &mut Connection, mut other: Connection) -> RedisResult<()> {
    let waiting = std::thread::spawn(move || other.blpop::<_, (String, String)>("q", 5.0));
    con.rpush::<_, _, ()>("q", "x")?;
    assert_eq!(waiting.join().unwrap()?, ("q".into(), "x".into()));
    assert_eq!(con.blpop::<_, Option<(String, String)>>("q", 0.01)?, None);
    Ok(())
}

fn publishing(con: &mut Connection, mut other: Connection) -> RedisResult<()> {
    let mut listener = other.as_pubsub();
    listener.subscribe("c")?;
    assert_eq!(con.publish::<_, _, i64>("c", "hello")?, 1);
    let message = listener.get_message()?;
    assert_eq!(
        (message.get_channel_name(), message.get_payload::<String>()?),
        ("c", "hello".into())
    );
    Ok(())
}
