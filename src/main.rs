//! The program; all it does is in the library's `cli` module.

fn main() -> std::process::ExitCode {
    edgeclip::cli::run()
}
