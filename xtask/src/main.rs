//! The command `cargo xtask`: every test, every check. Source: house rules, "Gate before every push".

use std::process::ExitCode;
use std::time::Instant;

use xtask::steps::{self, Step};
use xtask::{bad_input, mutants, prove, root, tidy};

const USAGE: &str = "\
cargo xtask test [ARGS]   every test of the workspace; ARGS go to `cargo test`
cargo xtask check         format, clippy, docs, tidy, deny
cargo xtask sim [ARGS]    whole economies from seeds: --seeds N, --from S, --minutes M, --trace, --twice
cargo xtask sim --mutants  deliberate faults, which it must find: --only NAME, --open, --markdown
cargo xtask faults NAME   real programs under damage: `list` names them, `all` tries each; --full, --tries N, --seed S
cargo xtask prove [--full]  what there is of the goals R1 to R22, in one table
cargo xtask fuzz [TARGET]   libFuzzer on bad input (nightly): --seconds N each, --keep what reaches new code
cargo xtask mutants       mutations of money, books and coin against their tests: --package NAME, --shard K/N
cargo xtask tidy          our own rules only: arrows, purity, sizes, headers, leftovers, slugs, paths, links";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next();
    let rest: Vec<String> = args.collect();
    let ok = match (task.as_deref(), rest.is_empty()) {
        (Some("test"), _) => test(&rest),
        (Some("sim"), _) if rest.first().is_some_and(|arg| arg == "--mutants") => mutants(&rest),
        (Some("sim"), _) => done(steps::program("florin-sim", &[], &rest)),
        (Some("faults"), _) => faults(&rest),
        (Some("prove"), true) => prove::run(false),
        (Some("prove"), false) if rest == ["--full"] => prove::run(true),
        (Some("fuzz"), _) => bad_input::fuzz(&rest),
        (Some("mutants"), _) => bad_input::mutants(&rest),
        (Some("check"), true) => steps::run_all(check_steps()),
        (Some("tidy"), true) => steps::run_all(vec![tidy_step()]),
        (Some("help" | "--help" | "-h"), _) => {
            println!("{USAGE}");
            true
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn test(rest: &[String]) -> bool {
    let start = Instant::now();
    let mut args = vec!["test", "--workspace", "--locked"];
    args.extend(rest.iter().map(String::as_str));
    let outcome = steps::cargo(&args, &[]);
    let took_s = start.elapsed().as_secs_f64();
    match &outcome {
        Ok(()) => println!("\nall tests passed in {took_s:.1} s"),
        Err(why) => eprintln!("\nthe tests failed after {took_s:.1} s: {why}"),
    }
    outcome.is_ok()
}

fn done(outcome: Result<(), steps::Why>) -> bool {
    outcome.inspect_err(|why| eprintln!("{why}")).is_ok()
}

fn mutants(rest: &[String]) -> bool {
    mutants::run(rest.get(1..).unwrap_or_default()).unwrap_or_else(|why| {
        eprintln!("{why}");
        false
    })
}

/// The program under damage is the one beside the program that does the damage.
fn faults(rest: &[String]) -> bool {
    done(steps::program("florin-faults", &["florin"], rest))
}

fn check_steps() -> Vec<Step> {
    vec![
        Step::new("fmt", || steps::cargo(&["fmt", "--all", "--check"], &[])),
        Step::new("clippy", || {
            steps::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
        }),
        Step::new("docs", || {
            let warnings = [("RUSTDOCFLAGS", "-D warnings")];
            steps::cargo(&["doc", "--workspace", "--no-deps", "--locked"], &warnings)
        }),
        tidy_step(),
        Step::new("deny", deny),
    ]
}

fn tidy_step() -> Step {
    Step::new("tidy", || {
        let findings = tidy::over(&root())?;
        for finding in &findings {
            println!("{finding}");
        }
        if findings.is_empty() { Ok(()) } else { Err(steps::Why::Findings(findings.len())) }
    })
}

/// Licences, banned crates and sources; no advisories, as they need a feed from the network. `fetch` first: the
/// check reads the manifests of every target's crates, and a build has downloaded only this target's.
fn deny() -> Result<(), steps::Why> {
    if !steps::has_subcommand("deny") {
        return Err(steps::Why::Missing(
            "cargo-deny: cargo install cargo-deny --version 0.20.2 --locked (.ci/run does it under target/tools)",
        ));
    }
    steps::cargo(&["fetch", "--quiet", "--locked"], &[])?;
    steps::cargo(
        &["deny", "--offline", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"],
        &[],
    )
}
