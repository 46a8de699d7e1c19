//! What CLIENT HELP says.

/// Usage lines and their explanations.
pub(super) const LINES: &[(&str, &[&str])] = &[
    (
        "CACHING (YES|NO)",
        &["Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes."],
    ),
    ("GETREDIR", &["Return the client ID we are redirecting to when tracking is enabled."]),
    ("GETNAME", &["Return the name of the current connection."]),
    ("ID", &["Return the ID of the current connection."]),
    ("INFO", &["Return information about the current client connection."]),
    ("KILL <ip:port>", &["Kill connection made from <ip:port>."]),
    (
        "KILL <option> <value> [<option> <value> [...]]",
        &[
            "Kill connections. Options are:",
            "* ADDR (<ip:port>|<unixsocket>:0)",
            "  Kill connections made from the specified address",
            "* LADDR (<ip:port>|<unixsocket>:0)",
            "  Kill connections made to specified local address",
            "* TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "  Kill connections by type.",
            "* USER <username>",
            "  Kill connections authenticated by <username>.",
            "* SKIPME (YES|NO)",
            "  Skip killing current connection (default: yes).",
            "* ID <client-id>",
            "  Kill connections by client id.",
            "* MAXAGE <maxage>",
            "  Kill connections older than the specified age.",
        ],
    ),
    (
        "LIST [options ...]",
        &[
            "Return information about client connections. Options:",
            "* TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "  Return clients of specified type.",
        ],
    ),
    ("UNPAUSE", &["Stop the current client pause, resuming traffic."]),
    (
        "PAUSE <timeout> [WRITE|ALL]",
        &["Suspend all, or just write, clients for <timeout> milliseconds."],
    ),
    ("REPLY (ON|OFF|SKIP)", &["Control the replies sent to the current connection."]),
    ("SETNAME <name>", &["Assign the name <name> to the current connection."]),
    (
        "SETINFO <option> <value>",
        &[
            "Set client meta attr. Options are:",
            "* LIB-NAME: the client lib name.",
            "* LIB-VER: the client lib version.",
        ],
    ),
    ("UNBLOCK <clientid> [TIMEOUT|ERROR]", &["Unblock the specified blocked client."]),
    // The second line of this usage is indented like its first words.
    (
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        &["     [OPTIN] [OPTOUT] [NOLOOP]", "Control server assisted client side caching."],
    ),
    ("TRACKINGINFO", &["Report tracking status for the current connection."]),
    ("NO-EVICT (ON|OFF)", &["Protect current client connection from eviction."]),
    ("NO-TOUCH (ON|OFF)", &["Will not touch LRU/LFU stats when this mode is on."]),
];
