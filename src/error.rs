//! Every text that a client can see when something is refused.
//!
//! Invariant: a text stands here exactly as a genuine server prints it, code word included, and
//! nowhere else. Rows are grouped by the family that raises them.

use std::borrow::Cow;

/// What a handler returns: its reply, or one of the errors below.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A refusal. `text` gives the line that follows the `-` on the wire.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Error {
            $($(#[$doc])* #[doc = concat!("`", $text, "`")] $name,)*
            /// A text with parts that depend on the request, code word included.
            Text(Box<[u8]>),
        }

        impl Error {
            /// The line that the client sees, without the leading `-`. Not always UTF-8: bytes of
            /// the request stay what they are.
            pub fn text(&self) -> &[u8] {
                match self {
                    $(Error::$name => $text.as_bytes(),)*
                    Error::Text(text) => text,
                }
            }
        }
    };
}

errors! {
    // Every family.
    WrongType = "WRONGTYPE Operation against a key holding the wrong kind of value",
    Syntax = "ERR syntax error",
    NotInteger = "ERR value is not an integer or out of range",
    NotFloat = "ERR value is not a valid float",
    NotPositive = "ERR value is out of range, must be positive",
    OutOfRange = "ERR value is out of range",
    NotInt32 = "ERR value is out of range, value must between -2147483648 and 2147483647",
    NoSuchKey = "ERR no such key",
    IndexOutOfRange = "ERR index out of range",
    // Strings.
    StringTooLong = "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
    Overflow = "ERR increment or decrement would overflow",
    DecrementOverflow = "ERR decrement would overflow",
    NanOrInfinity = "ERR increment would produce NaN or Infinity",
    OffsetOutOfRange = "ERR offset is out of range",
    // Hashes.
    HashValueNotInteger = "ERR hash value is not an integer",
    HashValueNotFloat = "ERR hash value is not a float",
    NanOrInfinite = "ERR value is NaN or Infinity",
    CountBelowMinusMax = "ERR value is out of range, \
        value must between -9223372036854775807 and 9223372036854775807",
    FieldsMissing = "ERR Mandatory argument FIELDS is missing or not at the right position",
    FieldsMismatch = "ERR The `numfields` parameter must match the number of arguments",
    FieldsNotPositive = "ERR Number of fields must be a positive integer",
    NumFieldsNotPositive = "ERR Parameter `numFields` should be greater than 0",
    InvalidFieldCount = "ERR invalid number of fields",
    NegativeExpire = "ERR invalid expire time, must be >= 0",
    OnlyOneFieldRule = "ERR Only one of FXX or FNX arguments can be specified",
    OnlyOneFieldExpiry =
        "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
    // Bitmaps and HyperLogLog.
    BitOffset = "ERR bit offset is not an integer or out of range",
    BitValue = "ERR bit is not an integer or out of range",
    BitArgument = "ERR The bit argument must be 1 or 0.",
    BitopNot = "ERR BITOP NOT must be called with a single source key.",
    BitfieldType =
        "ERR Invalid bitfield type. Use something like i16 u8. \
         Note that u64 is not supported but i64 is.",
    BitfieldOverflow = "ERR Invalid OVERFLOW type specified",
    BitfieldReadOnly = "ERR BITFIELD_RO only supports the GET subcommand",
    NoHyperLogLog = "WRONGTYPE Key is not a valid HyperLogLog string value.",
    CorruptedHyperLogLog = "INVALIDOBJ Corrupted HLL object detected",
    NotSparse = "ERR HLL encoding is not sparse",
    NoSpecifiedKey = "ERR The specified key does not exist",
    // Keys.
    DbIndexOutOfRange = "ERR DB index is out of range",
    InvalidCursor = "ERR invalid cursor",
    SameObject = "ERR source and destination objects are the same",
    BadData = "ERR Bad data format",
    BusyKey = "BUSYKEY Target key name already exists.",
    NegativeTtl = "ERR Invalid TTL value, must be >= 0",
    NegativeIdletime = "ERR Invalid IDLETIME value, must be >= 0",
    FreqRange = "ERR Invalid FREQ value, must be >= 0 and <= 255",
    MigrateKeys =
        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
    MigrateConnect = "IOERR error or timeout connecting to the client",
    MigrateWrite = "IOERR error or timeout writing to target instance",
    MigrateRead = "IOERR error or timeout reading from target instance",
    NovaluesOutsideHscan = "ERR NOVALUES option can only be used in HSCAN",
    // Sets and SORT.
    CountBelowMinimum = "ERR value is out of range, \
        value must between -9223372036854775807 and 9223372036854775807",
    NumkeysNotPositive = "ERR numkeys should be greater than 0",
    NumkeysTooMany = "ERR Number of keys can't be greater than number of args",
    LimitNegative = "ERR LIMIT can't be negative",
    SortScoreNotFloat = "ERR One or more scores can't be converted into double",
    // Streams.
    InvalidStreamId = "ERR Invalid stream ID specified as stream command argument",
    InvalidRangeStart = "ERR invalid start ID for the interval",
    InvalidRangeEnd = "ERR invalid end ID for the interval",
    NegativeMaxLen = "ERR The MAXLEN argument must be >= 0.",
    NegativeLimit = "ERR The LIMIT argument must be >= 0.",
    TwoTrims = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
    LimitWithoutTrim =
        "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
    XtrimWithoutTrim = "ERR syntax error, XTRIM must be called with a trimming strategy",
    LimitWithoutTilde = "ERR syntax error, LIMIT cannot be used without the special ~ option",
    XaddZeroId = "ERR The ID specified in XADD must be greater than 0-0",
    XaddSmallerId =
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    StreamExhausted =
        "ERR The stream has exhausted the last possible ID, unable to add more items",
    StreamEntryTooLarge = "ERR Elements are too large to be stored",
    NegativeEntriesAdded = "ERR entries_added must be positive",
    XsetidBelowGivenDeleted =
        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
    XsetidBelowDeleted =
        "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
    XsetidBelowTop = "ERR The ID specified in XSETID is smaller than the target stream top item",
    XsetidEntriesAdded =
        "ERR The entries_added specified in XSETID is smaller than the target stream length",
    XreadGroup =
        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
    XreadNoack =
        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
    XreadGreater = "ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
        <group> <consumer> option.",
    XreadgroupNoGroup = "ERR Missing GROUP option for XREADGROUP",
    XreadgroupDollar = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to \
        read the history of this consumer by specifying a proper ID, or use the > ID to get new \
        messages. The $ ID would just return an empty result set.",
    XreadgroupPlus = "ERR The + ID is meaningless in the context of XREADGROUP: you want to \
        read the history of this consumer by specifying a proper ID, or use the > ID to get new \
        messages. The + ID would just return an empty result set.",
    XgroupNoKey = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you \
        may want to use the MKSTREAM option to create an empty stream automatically.",
    BusyGroup = "BUSYGROUP Consumer Group name already exists",
    NegativeEntriesRead = "ERR value for ENTRIESREAD must be positive or -1",
    XclaimMinIdle = "ERR Invalid min-idle-time argument for XCLAIM",
    XautoclaimMinIdle = "ERR Invalid min-idle-time argument for XAUTOCLAIM",
    CountNotPositive = "ERR COUNT must be > 0",
    // Files.
    SaveInProgress = "ERR Background save already in progress",
    Loading = "LOADING Redis is loading the dataset in memory",
    NotSaved = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to \
        persist to disk. Commands that may modify the data set are disabled, because this instance \
        is configured to report errors during writes if RDB snapshotting fails \
        (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the \
        RDB error.",
    // Scripts and functions.
    NoScript = "NOSCRIPT No matching script. Please use EVAL.",
    NumkeysNegative = "ERR Number of keys can't be negative",
    BadNumberOfKeys = "ERR Bad number of keys provided",
    ScriptWrites = "ERR Can not execute a script with write flag using *_ro command.",
    ScriptOutOfMemory = "OOM allow-oom flag is not set on the script, \
        can not run it when used memory > 'maxmemory'",
    NoMemoryForScripts = "ERR not enough memory",
    ScriptFlushMode = "ERR SCRIPT FLUSH only support SYNC|ASYNC option",
    ScriptDebugMode = "ERR Use SCRIPT DEBUG YES/SYNC/NO",
    NoDebugger = "ERR SCRIPT DEBUG is not available on this server",
    NotBusy = "NOTBUSY No scripts in execution right now.",
    Unkillable = "UNKILLABLE Sorry the script already executed write commands against the \
        dataset. You can either wait the script termination or kill the server in a hard way \
        using the SHUTDOWN NOSAVE command.",
    BusyScript = "BUSY Redis is busy running a script. \
        You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    BusyFunction = "BUSY Redis is busy running a script. \
        You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
    FunctionNotFound = "ERR Function not found",
    LibraryNotFound = "ERR Library not found",
    LibraryNameMissing = "ERR library name argument was not given",
    FunctionFlushMode = "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
    RestorePolicy = "ERR Wrong restore policy given, \
        value should be either FLUSH, APPEND or REPLACE.",
    BadPayload = "ERR DUMP payload version or checksum are wrong",
    NotAFunction = "ERR given type is not a function",
    FunctionUnreadable = "ERR failed loading the given functions payload",
    // Connection and transactions.
    NoAuth = "NOAUTH Authentication required.",
    WrongPass = "WRONGPASS invalid username-password pair or user is disabled.",
    NoProto = "NOPROTO unsupported protocol version",
    ExecAbort = "EXECABORT Transaction discarded because of previous errors.",
    NestedMulti = "ERR MULTI calls can not be nested",
    ExecWithoutMulti = "ERR EXEC without MULTI",
    DiscardWithoutMulti = "ERR DISCARD without MULTI",
    WatchInsideMulti = "ERR WATCH inside MULTI is not allowed",
    MaxClients = "ERR max number of clients reached",
    // Sorted sets.
    PopCountNotPositive = "ERR count should be greater than 0",
    ScoreNotANumber = "ERR resulting score is not a number (NaN)",
    AddNewAndPresent = "ERR XX and NX options at the same time are not compatible",
    AddGreaterAndLess =
        "ERR GT, LT, and/or NX options at the same time are not compatible",
    IncrementSinglePair = "ERR INCR option supports a single increment-element pair",
    BoundNotFloat = "ERR min or max is not a float",
    BoundNotLex = "ERR min or max not valid string range item",
    LimitNeedsBy = "ERR syntax error, LIMIT is only supported in combination with either \
                    BYSCORE or BYLEX",
    LexWithScores = "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
    WeightNotFloat = "ERR weight value is not a float",
    // Positions.
    GeoUnit = "ERR unsupported unit provided. please use M, KM, FT, MI",
    GeoMember = "ERR could not decode requested zset member",
    GeoRadiusNotNumber = "ERR need numeric radius",
    GeoRadiusNegative = "ERR radius cannot be negative",
    GeoWidthNotNumber = "ERR need numeric width",
    GeoHeightNotNumber = "ERR need numeric height",
    GeoBoxNegative = "ERR height or width cannot be negative",
    GeoCount = "ERR COUNT must be > 0",
    GeoAnyWithoutCount = "ERR the ANY argument requires COUNT argument",
    // Server.
    OutOfMemory = "OOM command not allowed when used memory > 'maxmemory'.",
    ReadOnlyReplica = "READONLY You can't write against a read only replica.",
    Unblocked = "UNBLOCKED client unblocked via CLIENT UNBLOCK",
    // Replication.
    RoleChanged = "UNBLOCKED force unblock from blocking operation, \
        instance state changed (master -> replica?)",
    NoReplicas = "NOREPLICAS Not enough good replicas to write.",
    PrimaryDown =
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    StaleScript = "ERR Can not execute the command on a stale replica",
    ReplicaKeyspace = "ERR Replica can't interact with the keyspace",
    WaitOnReplica = "ERR WAIT cannot be used with replica instances. Please also note that since \
        Redis 4.0 if a replica is configured to be writable (which is not the default) writes to \
        replicas are just local and are not propagated.",
    WaitAofOnReplica = "ERR WAITAOF cannot be used with replica instances. Please also note that \
        writes to replicas are just local and are not propagated.",
    WaitAofOff =
        "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
    ShutdownFailed = "ERR Errors trying to SHUTDOWN. Check logs.",
    NumLocal = "ERR value is out of range, value must between 0 and 1",
    CommandOfReplica = "ERR Command is not valid when client is a replica.",
    InvalidPrimaryPort = "ERR Invalid master port",
    FailingOver = "ERR REPLICAOF not allowed while failing over.",
    FailoverToPrimary = "ERR PSYNC FAILOVER can't be sent to a master.",
    FailoverHistory = "ERR PSYNC FAILOVER replid must match my replid.",
    SyncWhileFailingOver = "NOMASTERLINK Can't SYNC while failing over",
    SyncWithoutPrimary = "NOMASTERLINK Can't SYNC while not connected with my master",
    FilteredWithoutEof = "ERR Filtered replica requires EOF capability",
    TimeoutNotFloat = "ERR timeout is not a float or out of range",
    TimeoutNotInteger = "ERR timeout is not an integer or out of range",
    TimeoutNegative = "ERR timeout is negative",
    TimeoutOutOfRange = "ERR timeout is out of range",
}

impl Error {
    /// An error whose text depends on the request; `text` begins with its code word.
    pub fn of(text: impl Into<Cow<'static, str>>) -> Error {
        Error::Text(text.into().into_owned().into_bytes().into_boxed_slice())
    }

    /// An error whose text is made of bytes, which need not be UTF-8.
    pub fn of_bytes(text: Vec<u8>) -> Error {
        Error::Text(text.into_boxed_slice())
    }

    /// An error that shows words of the request: each `{}` of the text stands for the next one.
    ///
    /// Redis: a word is shown up to its first zero byte.
    pub fn showing(text: &str, words: &[&[u8]]) -> Error {
        Error::of_bytes(filled(text, words))
    }

    /// `name` is the command's full name in lower case (`client|kill`).
    pub fn wrong_arity(name: &str) -> Error {
        Error::of(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// The refusal of an expire time, by the command that received it.
    pub fn invalid_expire(name: &str) -> Error {
        Error::of(format!("ERR invalid expire time in '{name}' command"))
    }

    /// The refusal of a word that is no option.
    pub fn unknown_argument(word: &[u8]) -> Error {
        Error::showing("ERR unknown argument: {}", &[word])
    }

    /// The refusal of a name that no row carries; shows up to 128 bytes of each of the arguments.
    pub fn unknown_command(argv: &[&[u8]]) -> Error {
        let mut args = Vec::new();
        for arg in &argv[1..] {
            if args.len() >= 128 {
                break;
            }
            let room = 128 - args.len();
            args.push(b'\'');
            args.extend_from_slice(until_nul(&arg[..arg.len().min(room)]));
            args.extend_from_slice(b"' ");
        }
        let name = &argv[0][..argv[0].len().min(128)];
        Error::showing("ERR unknown command '{}', with args beginning with: {}", &[name, &args])
    }

    /// The refusal of a subcommand that its container does not have.
    pub fn unknown_subcommand(container: &[u8], sub: &[u8]) -> Error {
        let (sub, container) = (&sub[..sub.len().min(128)], container.to_ascii_uppercase());
        Error::showing("ERR unknown subcommand '{}'. Try {} HELP.", &[sub, &container])
    }

    /// The code word: what stands before the first space.
    pub fn code(&self) -> &[u8] {
        self.text().split(|&byte| byte == b' ').next().unwrap_or_default()
    }
}

/// The text, with the next one of the words, up to its first zero byte, for each `{}`. The words
/// need not be UTF-8.
pub fn filled(text: &str, words: &[&[u8]]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len() + 16);
    let mut words = words.iter();
    for (number, part) in text.split("{}").enumerate() {
        if number > 0 {
            shown.extend_from_slice(words.next().map_or(&[][..], |word| until_nul(word)));
        }
        shown.extend_from_slice(part.as_bytes());
    }
    shown
}

fn until_nul(word: &[u8]) -> &[u8] {
    word.split(|&byte| byte == 0).next().unwrap_or(word)
}

/// Bytes of a request in one line of the log for people.
pub fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace(['\r', '\n'], " ")
}
