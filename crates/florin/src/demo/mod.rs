//! `florin demo`: private coins are bought from a bank account and paid for pages of an ordinary web server, each step
//! as it happens. Source: the README's first command.

mod story;
mod world;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use florin_http::Stop;
use florin_shell::exit::ExitCode;

use crate::failure::Failure;
use crate::output::Output;

/// Arguments of `demo`.
#[derive(Args)]
pub struct DemoArgs {
    /// Ends after the last step instead of staying up.
    #[arg(long)]
    once: bool,
    /// Keeps all state in this folder, which must not exist yet [default: a fresh temporary folder, removed at the end].
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Tells the story.
pub async fn run(args: DemoArgs, output: Output) -> Result<ExitCode, Failure> {
    let signal = Stop::on_signal().map_err(|e| Failure::of(ExitCode::Io, e.to_string()))?;
    let (dir, fresh) = match args.dir {
        Some(dir) if dir.exists() => {
            return Err(Failure::of(ExitCode::CannotCreate, format!("{} is there already", dir.display())));
        }
        Some(dir) => (dir, false),
        None => (fresh_dir(), true),
    };
    florin_shell::home::create_private(&dir)?;
    let told = tokio::select! {
        told = story::tell(&dir, output, Instant::now()) => told,
        () = signal.stopped() => Err(Failure::of(ExitCode::Refused, "stopped before the end")),
    };
    let ended = match told {
        Ok(world) => {
            if !args.once {
                output.text("Everything stays up. Ctrl-C ends it.");
                signal.stopped().await;
            }
            world.end().await
        }
        Err(failure) => Err(failure),
    };
    if fresh {
        // What cannot be removed is in the system's own folder for such things.
        let _ = std::fs::remove_dir_all(&dir);
    }
    ended.map(|()| ExitCode::Done)
}

fn fresh_dir() -> PathBuf {
    let id: [u8; 8] = florin_crypto::random(&mut florin_shell::entropy::OsEntropy);
    let name: String = id.iter().map(|b| format!("{b:02x}")).collect();
    std::env::temp_dir().join(format!("florin-demo-{name}"))
}
