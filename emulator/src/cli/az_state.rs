//! `import az-state` and `export az-state`: the file of `az iot hub state export`, so that what a
//! real hub holds becomes a local hub's, and a local one's can go back.

mod device;
mod export;
mod file;
mod import;
mod plan;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};

use super::context::CliContext;
use super::output::print;

/// Take over what a file holds.
#[derive(Debug, Args)]
pub(crate) struct ImportCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: ImportSubcommand,
}

#[derive(Debug, Subcommand)]
enum ImportSubcommand {
    /// The state of a hub, from a file of `az iot hub state export`: configurations, edge
    /// deployments, and devices with their modules, keys, twins and parents.
    AzState(StateArgs),
}

/// Write what the hub holds into a file.
#[derive(Debug, Args)]
pub(crate) struct ExportCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: ExportSubcommand,
}

#[derive(Debug, Subcommand)]
enum ExportSubcommand {
    /// The state of the hub, as `az iot hub state export` writes it and `az iot hub state import`
    /// reads it. The file holds keys: only its owner may read it.
    AzState(StateArgs),
}

#[derive(Debug, Args)]
struct StateArgs {
    /// The file.
    file: PathBuf,
    /// What of it: configurations, devices [default: both].
    #[arg(long, value_enum, num_args = 1.., value_name = "ASPECT")]
    aspects: Vec<Aspect>,
    /// Delete first what is there: of the hub those aspects, or the file.
    #[arg(long, short = 'r')]
    replace: bool,
}

/// What `az` calls an aspect: a member of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Aspect {
    /// Automatic configurations and edge deployments.
    Configurations,
    /// Devices and their modules: identities and twins.
    Devices,
    /// The resource in Azure; there is none here.
    Arm,
}

impl Aspect {
    /// As the file has it.
    const fn member(self) -> &'static str {
        match self {
            Self::Configurations => "configurations",
            Self::Devices => "devices",
            Self::Arm => "arm",
        }
    }
}

impl StateArgs {
    /// Those that were asked for.
    fn aspects(&self) -> anyhow::Result<BTreeSet<Aspect>> {
        if self.aspects.contains(&Aspect::Arm) {
            bail!(
                "the aspect arm is the hub as a resource in Azure, and the emulator is none: \
                 give --aspects configurations devices"
            );
        }
        if self.aspects.is_empty() {
            return Ok(BTreeSet::from([Aspect::Configurations, Aspect::Devices]));
        }
        Ok(self.aspects.iter().copied().collect())
    }
}

impl ImportCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let ImportSubcommand::AzState(args) = self.command;
        let aspects = args.aspects()?;
        // Before anybody is asked for anything: a file that cannot be read changes nothing.
        let plan = plan::Plan::of(&args.file, &aspects)?;
        let backend = self.context.backend().await?;
        let import = import::Import::new(&backend, &args.file, plan, self.context.progress());
        let outcome = import.run(&aspects, args.replace).await?;
        print(&outcome.to_json(), self.context.output)?;
        match outcome.failures.len() {
            0 => Ok(()),
            1 => bail!("one part of the file was not imported"),
            count => bail!("{count} parts of the file were not imported"),
        }
    }
}

impl ExportCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let ExportSubcommand::AzState(args) = self.command;
        let aspects = args.aspects()?;
        let filled = std::fs::metadata(&args.file).is_ok_and(|file| file.len() > 0);
        if filled && !args.replace {
            bail!(
                "{} is there already: give --replace to overwrite it",
                args.file.display()
            );
        }
        let backend = self.context.backend().await?;
        let answer =
            export::export(&backend, &args.file, &aspects, self.context.progress()).await?;
        print(&answer, self.context.output)
    }
}
