//! Appraisal of a measurement list of 100,000 entries against a policy of as many digests, of 64 new entries against the
//! same policy, and compiling that policy; all on one core.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use keylime_bench::fleet::measured_files::{BANK, MeasuredFiles};
use keylime_bench::reference_timing::{ReferenceTiming, best_of};
use keylime_engine::algorithm::Digest;
use keylime_engine::ima::{ImaAppraisal, ImaContext, ImaOptions, ImaState, appraise};
use keylime_engine::policy::CompiledRuntimePolicy;
use std::hint::black_box;
use std::time::Duration;

/// Files in the policy, each with one digest.
const FILES: u32 = 100_000;
/// Lines of the whole list.
const LINES: u64 = 100_000;
/// Lines that are new at a later quote.
const NEW_LINES: u64 = 64;

/// A list with the value that PCR 10 has after it.
struct Measured {
    list: String,
    pcr10: Digest,
}

impl Measured {
    fn new(files: &MeasuredFiles, lines: u64) -> Self {
        let mut pcr10 = Digest::filled(0, BANK.digest_len());
        for position in 0..lines {
            pcr10 = BANK.digest(&[pcr10.as_bytes(), files.entry(position, None).extension().as_bytes()]);
        }
        Self { list: files.list(0, lines, None), pcr10 }
    }

    fn appraise(&self, policy: &CompiledRuntimePolicy) -> ImaAppraisal {
        let context = ImaContext {
            policy,
            tenant_keyring: None,
            bank: BANK,
            quoted_pcr10: Some(self.pcr10.as_bytes()),
            boot_aggregates: &[],
            options: ImaOptions::default(),
        };
        let appraisal = appraise(black_box(&self.list), &ImaState::default(), &context);
        assert!(appraisal.failures.is_empty());
        appraisal
    }
}

fn ima_appraisal(criterion: &mut Criterion) {
    let files = MeasuredFiles::new(FILES);
    let policy = CompiledRuntimePolicy::compile(files.policy()).expect("the policy compiles");
    let lists = [("full", Measured::new(&files, LINES)), ("incremental", Measured::new(&files, NEW_LINES))];

    let mut group = criterion.benchmark_group("ima_appraisal");
    group.sample_size(30);
    for ((name, measured), lines) in lists.iter().zip([LINES, NEW_LINES]) {
        group.throughput(Throughput::Elements(lines));
        group.bench_function(*name, |bencher| bencher.iter(|| measured.appraise(&policy)));
    }
    group.throughput(Throughput::Elements(u64::from(FILES)));
    group.bench_function("compile", |bencher| {
        bencher.iter_batched(
            || (),
            |()| CompiledRuntimePolicy::compile(black_box(files.policy())).expect("the policy compiles"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
    compare(&files, &policy, &lists);
}

/// Prints the ratios to the reference.
fn compare(files: &MeasuredFiles, policy: &CompiledRuntimePolicy, lists: &[(&str, Measured); 2]) {
    let (full, incremental) = (&lists[0].1, &lists[1].1);
    let (full_pcr, incremental_pcr) = (full.pcr10.to_hex(), incremental.pcr10.to_hex());
    let timing = ReferenceTiming::measure(&[
        ("policy.json", files.policy().as_bytes()),
        ("full.txt", full.list.as_bytes()),
        ("full.pcr", full_pcr.as_bytes()),
        ("incremental.txt", incremental.list.as_bytes()),
        ("incremental.pcr", incremental_pcr.as_bytes()),
    ]);
    println!("memory of the compiled policy: {} KiB", policy.memory_bytes() / 1024);
    let Some(timing) = timing.expect("the reference appraises the lists") else { return };
    timing.compare("full", best_of(10, || full.appraise(policy)));
    timing.compare("incremental", best_of(1000, || incremental.appraise(policy)));
    let compile = || CompiledRuntimePolicy::compile(black_box(files.policy())).expect("the policy compiles");
    timing.compare("compile", best_of(10, compile));
    timing.compare_bytes("memory", policy.memory_bytes());
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(5));
    targets = ima_appraisal
}
criterion_main!(benches);
