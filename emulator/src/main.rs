//! The binary: command line in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    iothub_emulator::cli::main()
}
