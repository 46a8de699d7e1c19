//! The thresholds at which a value changes from its packed to its large encoding, and the hash
//! key of large encodings. Configuration fills it in; every mutating method of a type receives it.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The secret of one server's hash tables: strangers choose keys and members, so positions must
/// not be predictable. SipHash-1-3, as in Rust's own `HashMap`.
#[derive(Clone, Copy, Debug)]
pub struct HashKey(pub u64, pub u64);

impl HashKey {
    /// The 64-bit hash of `bytes`.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        // The crate's `hash` of a whole slice takes half as long again.
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(bytes);
        hasher.finish()
    }
}

/// Whether no two of these hashes are the same. Texts whose hashes all differ all differ; when two
/// are the same, the texts must be compared.
pub fn all_differ(mut hashes: Vec<u64>) -> bool {
    hashes.sort_unstable();
    hashes.windows(2).all(|pair| pair[0] != pair[1])
}

/// Encoding thresholds, named after their directives.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Keys the tables of large encodings.
    pub hash_key: HashKey,
    /// Positive: entries of a list node; negative: -1 to -5 for 4, 8, 16, 32, 64 KiB.
    pub list_max_listpack_size: i64,
    /// Nodes left uncompressed at each end; accepted, and reported by DEBUG OBJECT.
    pub list_compress_depth: i64,
    /// Fields of a packed hash.
    pub hash_max_listpack_entries: usize,
    /// Bytes of a field or a value in a packed hash.
    pub hash_max_listpack_value: usize,
    /// Members of an integer set.
    pub set_max_intset_entries: usize,
    /// Members of a packed set.
    pub set_max_listpack_entries: usize,
    /// Bytes of a member in a packed set.
    pub set_max_listpack_value: usize,
    /// Members of a packed sorted set.
    pub zset_max_listpack_entries: usize,
    /// Bytes of a member in a packed sorted set.
    pub zset_max_listpack_value: usize,
    /// Bytes of a stream block; 0 is no limit.
    pub stream_node_max_bytes: usize,
    /// Entries of a stream block; 0 is no limit.
    pub stream_node_max_entries: usize,
    /// Bytes of a sparse HyperLogLog.
    pub hll_sparse_max_bytes: usize,
    /// Bytes from which a list element gets a node of its own (DEBUG QUICKLIST-PACKED-THRESHOLD);
    /// 0 stands for the default, which follows `list_max_listpack_size`.
    pub list_packed_threshold: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            hash_key: HashKey(0x5bd1_e995_9ddf_ea08, 0xeb38_2d69_c2b2_ae3d),
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
            list_packed_threshold: 0,
        }
    }
}
