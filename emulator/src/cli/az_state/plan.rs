//! What a file holds, found out by reading it once: how much there is to do, which devices must
//! come before which, and what cannot be done.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::Aspect;
use super::device::{Device, Fault, LeftOut, place};
use super::file;

/// How many edge devices may be behind one another; a real hub allows five.
const MOST_LEVELS: usize = 16;

/// How much is to be done, in which order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) configurations: Option<Value>,
    /// Names of what the file has and a local hub has not.
    pub(super) left_out: Vec<String>,
    pub(super) devices: u64,
    /// What cannot be done, whatever the hub says.
    pub(super) faults: Vec<Fault>,
    refused: HashSet<String>,
    /// Edge devices with how many others are above them.
    levels: HashMap<String, usize>,
}

impl Plan {
    /// Reads the file. Refused is only what is no state at all; the rest is a fault each.
    pub(super) fn of(path: &Path, aspects: &BTreeSet<Aspect>) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        let wanted = aspects.contains(&Aspect::Devices);
        let mut seen = HashSet::new();
        let mut edges = HashMap::new();
        let mut sum = LeftOut::default();
        let rest = file::read(path, |id, entry| {
            if !wanted {
                return Ok(());
            }
            plan.devices += 1;
            if !seen.insert(id.to_owned()) {
                plan.refuse(id, Fault::new(place(id), "is there twice"));
            }
            match Device::parse(id, &entry) {
                Ok(device) => {
                    sum.reported += device.left_out.reported;
                    sum.unknown += device.left_out.unknown;
                    if device.edge {
                        edges.insert(id.to_owned(), device.parent);
                    }
                }
                Err(fault) => plan.refuse(id, fault),
            }
            Ok(())
        })?;
        plan.order(&edges);
        plan.leave_out(&rest, sum);
        for aspect in aspects {
            let is_there = match aspect {
                Aspect::Configurations => rest.configurations.is_some(),
                Aspect::Devices => rest.has_devices,
                Aspect::Arm => true,
            };
            if !is_there {
                let name = aspect.member();
                plan.left_out.push(format!("{name}: not in the file"));
            }
        }
        if aspects.contains(&Aspect::Configurations) {
            plan.configurations = rest.configurations;
        }
        Ok(plan)
    }

    /// Whether a device of the file is to be made.
    pub(super) fn includes(&self, id: &str) -> bool {
        !self.refused.contains(id)
    }

    /// In which pass a device is made: edge devices from the top down, then all others.
    pub(super) fn pass_of(&self, id: &str) -> usize {
        self.levels
            .get(id)
            .copied()
            .unwrap_or_else(|| self.passes() - 1)
    }

    /// How often the file is to be read.
    pub(super) fn passes(&self) -> usize {
        self.levels.values().max().map_or(0, |deepest| deepest + 1) + 1
    }

    fn refuse(&mut self, id: &str, fault: Fault) {
        self.refused.insert(id.to_owned());
        self.faults.push(fault);
    }

    /// How deep each edge is below edges of this file; parents outside of it are there already, or
    /// never will be.
    fn order(&mut self, edges: &HashMap<String, Option<String>>) {
        let mut ids: Vec<_> = edges.keys().collect();
        ids.sort_unstable();
        for id in ids {
            let mut level = 0;
            let mut above = edges[id].as_ref();
            while let Some(parent) = above.filter(|parent| edges.contains_key(*parent)) {
                level += 1;
                if level > MOST_LEVELS {
                    let why =
                        format!("has more than {MOST_LEVELS} edge devices above it, or itself");
                    self.refuse(id, Fault::new(format!("{}/parent", place(id)), why));
                    break;
                }
                above = edges[parent].as_ref();
            }
            if level <= MOST_LEVELS {
                self.levels.insert(id.clone(), level);
            }
        }
    }

    fn leave_out(&mut self, rest: &file::Rest, sum: LeftOut) {
        if let Some(arm) = &rest.arm {
            self.left_out.extend(arm_names(arm));
        }
        for name in &rest.unknown {
            self.left_out
                .push(format!("{name}: nothing is known of such a member"));
        }
        if sum.reported > 0 {
            self.left_out.push(format!(
                "reported properties of {} twins: only the device itself can write them",
                sum.reported
            ));
        }
        if sum.unknown > 0 {
            self.left_out.push(format!(
                "{} members of devices that nothing is known of",
                sum.unknown
            ));
        }
    }
}

/// The resources of the template in the member `arm`.
fn arm_names(arm: &Value) -> Vec<String> {
    /// So many are named.
    const MOST: usize = 20;

    let resources = arm["resources"].as_array().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<_> = resources
        .iter()
        .take(MOST)
        .map(|resource| {
            let text = |name: &str| resource[name].as_str().unwrap_or("?");
            format!("arm: {} {}", text("type"), text("name"))
        })
        .collect();
    match resources.len() {
        0 => names.push("arm: a template without resources".into()),
        count if count > MOST => names.push(format!("arm: {} more", count - MOST)),
        _ => {}
    }
    names
}
