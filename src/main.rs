//! The binary: command line and configuration file, a server, and its end.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<Vec<u8>> = std::env::args().skip(1).map(String::into_bytes).collect();
    let mut config = redouble::config::Config::default();
    if let Err(error) = config.apply_args(&args) {
        eprintln!("{}", error.fatal("7.4.2"));
        std::process::exit(1);
    }
    let server = redouble::Server::builder().with_config(config, "").standalone().start();
    match server {
        Ok(_server) => loop {
            std::thread::park();
        },
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
