//! Demo origin: the `Event2Table` API as an HTTP client sees it, with seeded data and faults.

// Route handlers share one signature, also those that cannot fail.
#![allow(clippy::disallowed_methods)] // a server has a clock
#![allow(clippy::unnecessary_wraps)]

mod api;
mod args;
mod body;
mod call;
mod categories;
mod clock;
mod control;
mod dashboard;
mod echo;
mod envelope;
mod event_params;
mod events;
mod games;
mod graphql;
mod graphql_parser;
mod json;
mod node_builder;
mod parameters;
mod query;
mod router;
mod rows;
mod seed;
mod server;
mod session;
mod simple;
mod tables;

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("{problem}\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("demo_origin: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &args::Args) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let state = Rc::new(control::State::new(args));
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await?;
        let mut out = io::stdout();
        writeln!(out, "listening on {}", listener.local_addr()?)?;
        out.flush()?;
        if args.exit_with_stdin {
            std::thread::spawn(exit_at_end_of_stdin);
        }
        server::serve(listener, state).await
    })
}

/// Ends the process when whoever holds the other end of stdin goes away.
fn exit_at_end_of_stdin() {
    let mut buffer = [0_u8; 256];
    let mut stdin = io::stdin().lock();
    while matches!(stdin.read(&mut buffer), Ok(read) if read > 0) {}
    std::process::exit(0);
}
