//! Which scenarios are run, and under which names.

use std::collections::BTreeMap;

use crate::topology::plan::Plan;
use crate::topology::steps::Scenario;

/// A scenario to run.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    /// Its file's plan.
    pub plan: &'a Plan,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Where its logs and captures go, below the directory of what is kept: `LAB/SCENARIO`, different for each case.
    pub place: String,
}

/// The scenarios of all plans in order, or those whose `lab/scenario` contains a text.
///
/// # Errors
/// A message if there is none: a run that checks nothing must not look like one that passed.
pub fn cases<'a>(plans: &'a [Plan], filter: Option<&str>) -> Result<Vec<Case<'a>>, String> {
    let all = || plans.iter().flat_map(|plan| plan.scenarios.iter().map(move |scenario| (plan, scenario)));
    let name = |plan: &Plan, scenario: &Scenario| format!("{}/{}", plan.name, scenario.name);
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut cases = Vec::new();
    for (plan, scenario) in all() {
        let place = name(plan, scenario);
        if filter.is_some_and(|text| !place.contains(text)) {
            continue;
        }
        // Two files may have one name, and a scenario's name may be any text.
        let place: String =
            place.chars().map(|c| if c.is_alphanumeric() || "-_/".contains(c) { c } else { '_' }).collect();
        let number = taken.entry(place.clone()).and_modify(|n| *n += 1).or_insert(1);
        let place = if *number > 1 { format!("{place}-{number}") } else { place };
        cases.push(Case { plan, scenario, place });
    }
    if !cases.is_empty() {
        return Ok(cases);
    }
    let names: Vec<String> = all().map(|(plan, scenario)| name(plan, scenario)).collect();
    Err(match filter {
        _ if names.is_empty() => "no file has a scenario: there is nothing to test".to_owned(),
        Some(text) => format!("no scenario's name contains {text:?}; there are: {}", names.join(", ")),
        None => "there is nothing to test".to_owned(),
    })
}

/// A name for a case's lab: told from the labs of other runs, and short enough for a host name.
pub fn lab_name(plan: &Plan, number: usize) -> String {
    let tail = format!("-t{}-{number}", std::process::id());
    let head: String = plan.name.chars().take(63 - tail.len()).collect();
    format!("{}{tail}", head.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::Net;

    fn plan(name: &str, scenarios: &[&str]) -> Plan {
        let mut plan = Net::new().plan();
        plan.name = name.into();
        plan.scenarios =
            scenarios.iter().map(|s| Scenario { name: (*s).into(), steps: Vec::new(), without: Vec::new() }).collect();
        plan
    }

    #[test]
    fn a_filter_chooses_by_lab_and_scenario() {
        let plans = [plan("first-light", &["delivery", "leaving"]), plan("ttl", &["delivery"])];
        let places = |filter| cases(&plans, filter).map(|cases| cases.into_iter().map(|c| c.place).collect::<Vec<_>>());
        assert_eq!(places(None).unwrap().len(), 3);
        assert_eq!(places(Some("delivery")).unwrap(), ["first-light/delivery", "ttl/delivery"]);
        assert_eq!(places(Some("first-light/l")).unwrap(), ["first-light/leaving"]);
        assert!(places(Some("sleep")).unwrap_err().contains("first-light/leaving"));
        assert!(cases(&[plan("empty", &[])], None).is_err());
    }

    #[test]
    fn each_case_has_a_place_of_its_own() {
        let plans = [plan("a", &["x y", "x?y"]), plan("a", &["../x"])];
        let places: Vec<String> = cases(&plans, None).unwrap().into_iter().map(|c| c.place).collect();
        assert_eq!(places, ["a/x_y", "a/x_y-2", "a/__/x"]);
    }

    #[test]
    fn lab_names_are_host_names() {
        let name = lab_name(&plan(&"n".repeat(63), &[]), 4096);
        assert!(name.len() <= 63 && name.starts_with("nnn"), "{name}");
    }
}
