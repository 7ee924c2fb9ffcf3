//! `florin-faults`: lists the faults, tries one or all of them. Source: the issue (`cargo xtask faults NAME`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use florin_faults::{FAULTS, Fault, FaultsError, Report, Setting, Size, fault};

/// Real programs under real damage.
#[derive(Parser)]
struct Args {
    /// The fault; `list` names them, `all` tries each.
    name: String,
    /// The size of the record instead of that of CI.
    #[arg(long)]
    full: bool,
    /// So many tries instead.
    #[arg(long)]
    tries: Option<u64>,
    /// The number of the first try, for a part of a sweep.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Repeats the choices of a run.
    #[arg(long)]
    seed: Option<u64>,
    /// Writes the reports there as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keeps the folders of tries with findings.
    #[arg(long)]
    keep: bool,
    /// The `florin` program; otherwise the one beside this program.
    #[arg(long)]
    florin: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.name == "list" {
        for fault in FAULTS {
            let sizes = format!("{} / {} {}", fault.ci, fault.full, fault.unit);
            println!("{:<10}{sizes:<34}{}", fault.name, fault.what);
        }
        return ExitCode::SUCCESS;
    }
    let chosen: Vec<&Fault> = match fault::of_name(&args.name) {
        Some(one) => vec![one],
        None if args.name == "all" => FAULTS.iter().collect(),
        None => {
            eprintln!("no fault is called {}; `list` names them", args.name);
            return ExitCode::from(64);
        }
    };
    match try_all(&chosen, &args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was found.
fn try_all(chosen: &[&Fault], args: &Args) -> Result<bool, FaultsError> {
    let setting = setting(args)?;
    let mut reports = Vec::new();
    for fault in chosen {
        let begun = Instant::now();
        let tally = (fault.run)(&setting, setting.tries_of(fault))?;
        let report = Report::new(fault, setting.seed, begun.elapsed(), tally);
        println!("{}", report.lines());
        reports.push(report);
        if let Some(path) = &args.json {
            let text = serde_json::to_string_pretty(&reports)?;
            std::fs::write(path, text).map_err(FaultsError::at(path))?;
        }
    }
    Ok(reports.iter().all(|report| report.findings.is_empty()))
}

fn setting(args: &Args) -> Result<Setting, FaultsError> {
    let florin = match &args.florin {
        Some(path) => path.clone(),
        None => {
            let own = std::env::current_exe();
            let own =
                own.map_err(|source| FaultsError::Program { program: "florin-faults".into(), source })?;
            own.with_file_name("florin")
        }
    };
    let florin = florin.canonicalize().map_err(FaultsError::at(&florin))?;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    Ok(Setting {
        florin,
        size: if args.full { Size::Full } else { Size::Ci },
        tries: args.tries,
        first: args.first,
        seed: args.seed.unwrap_or(clock),
        keep: args.keep,
    })
}
