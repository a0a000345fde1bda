//! `posthaste-loadgen`: load for any MTA. Its commands come with the load generator's own issue; until then the
//! tests and benchmarks use Postfix's smtp-source and smtp-sink, and this binary says so.

use std::process::ExitCode;

use clap::Parser;

/// SMTP load for any MTA (no command yet: the benchmarks use smtp-source and smtp-sink)
#[derive(Parser)]
#[command(name = "posthaste-loadgen", version, arg_required_else_help = true)]
struct Cli {}

fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    ExitCode::SUCCESS
}
