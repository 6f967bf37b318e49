//! The simulation over many seeds, over those that failed once, and over a verifier that is wrong on purpose.

use keylime_simulation::{Mutation, Summary, run};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Seeds of a usual test run; `KEYLIME_SIMULATION_SEEDS` asks for another number.
const SEEDS: u64 = 100_000;
/// Seeds that failed once, one a line.
const FAILED_ONCE: &str = include_str!("failed_seeds.txt");

#[test]
fn every_invariant_holds_in_every_seed() {
    let seeds = std::env::var("KEYLIME_SIMULATION_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let first = std::env::var("KEYLIME_SIMULATION_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (next, inputs) = (AtomicU64::new(first), AtomicU64::new(0));
    let (passes, notices, enrolled) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let summary =
                        run(seed, Mutation::None).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
                    assert!(summary.inputs >= 200, "seed {seed} came to a standstill: {summary:?}");
                    inputs.fetch_add(summary.inputs as u64, Ordering::Relaxed);
                    passes.fetch_add(summary.passes, Ordering::Relaxed);
                    notices.fetch_add(summary.notices, Ordering::Relaxed);
                    enrolled.fetch_add(summary.enrolled_anew, Ordering::Relaxed);
                }
            });
        }
    });
    let (inputs, passes, enrolled) = (inputs.into_inner(), passes.into_inner(), enrolled.into_inner());
    let notices = notices.into_inner();
    println!("{seeds} seeds, {inputs} inputs, {passes} passes, {notices} notices, {enrolled} enrolled anew");
    assert!(passes > seeds * 8, "the agents hardly ever pass: the simulation simulates too little");
    assert!(enrolled > seeds / 10, "agents are hardly ever enrolled anew");
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    for line in FAILED_ONCE.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let seed = line.split_whitespace().next().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| panic!("{line:?} does not begin with a seed"));
        if let Err(violation) = run(seed, Mutation::None) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..50 {
        assert_eq!(run(seed, Mutation::None), run(seed, Mutation::None));
    }
}

#[test]
fn a_verifier_that_is_wrong_on_purpose_is_noticed() {
    for (mutation, invariants) in [
        (Mutation::ConstantNonce, &[1][..]),
        (Mutation::DroppedOutboxRow, &[4][..]),
        (Mutation::VerdictBeforeCommit, &[2, 4][..]),
    ] {
        let found: Vec<u8> = (0..200).filter_map(|seed| run(seed, mutation).err()).map(|v| v.invariant).collect();
        assert!(!found.is_empty(), "{mutation:?} goes unnoticed");
        assert!(found.iter().all(|number| invariants.contains(number)), "{mutation:?} is taken for {found:?}");
        let all: Vec<Result<Summary, _>> = (0..200).map(|seed| run(seed, mutation)).collect();
        assert!(all.iter().filter(|outcome| outcome.is_err()).count() > 50, "{mutation:?} is hardly ever noticed");
    }
}
