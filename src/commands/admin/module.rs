//! MODULE: there are none, and none can be loaded: the API of modules is a C header.

use crate::command::{client, container, flag, Args, Call, Row};
use crate::commands::help;
use crate::error::{shown, Error, Result};
use crate::resp::out::{Done, Out};

/// The rows of MODULE.
pub const ROWS: &[Row] = &[
    container("MODULE")
        .since("4.0.0")
        .about("Modules of the server.")
        .cost("Depends on the subcommand."),
    client("MODULE|HELP", module_help)
        .loading()
        .stale()
        .since("5.0.0")
        .cost("O(1)")
        .about("Lists the subcommands."),
    client("MODULE|LIST", list)
        .admin()
        .noscript()
        .varies_in_order()
        .since("4.0.0")
        .cost("O(N) where N is the number of modules")
        .about("Lists the modules."),
    client("MODULE|LOAD path [arg [arg ...]]", load)
        .admin()
        .noscript()
        .flags(flag::NO_ASYNC_LOADING | flag::PROTECTED)
        .since("4.0.0")
        .cost("O(1)")
        .about("Refuses to load a module."),
    client("MODULE|LOADEX path [CONFIG name value [CONFIG name value ...]] [ARGS args ...]", load)
        .arity(-3)
        .admin()
        .noscript()
        .flags(flag::NO_ASYNC_LOADING | flag::PROTECTED)
        .since("7.0.0")
        .cost("O(1)")
        .about("Refuses to load a module."),
    client("MODULE|UNLOAD name", unload)
        .admin()
        .noscript()
        .flags(flag::NO_ASYNC_LOADING | flag::PROTECTED)
        .since("4.0.0")
        .cost("O(1)")
        .about("Refuses to unload what is not there."),
];

fn list(_: &mut Call<'_>, _: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(out.array(0).end())
}

fn load(call: &mut Call<'_>, args: &mut Args<'_>, _: Out<'_>) -> Result<Done> {
    let path = shown(args.bytes());
    call.state.logger.warning(format!("Module {path} failed to load: there is no module API"));
    Err(Error::of("ERR Error loading the extension. Please check the server logs."))
}

fn unload(_: &mut Call<'_>, _: &mut Args<'_>, _: Out<'_>) -> Result<Done> {
    Err(Error::of("ERR Error unloading module: no such module with that name"))
}

fn module_help(_: &mut Call<'_>, args: &mut Args<'_>, out: Out<'_>) -> Result<Done> {
    Ok(help(
        args,
        out,
        &[
            ("LIST", &["Return a list of loaded modules."]),
            (
                "LOAD <path> [<arg> ...]",
                &["Load a module library from <path>, passing to it any optional arguments."],
            ),
            (
                "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
                &["Load a module library from <path>, while passing it module configurations and \
                   optional arguments."],
            ),
            ("UNLOAD <name>", &["Unload a module."]),
        ],
    ))
}
