//! Appraisal of a measurement list against a policy of 20,000 files; the throughput is entries per second on one core.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keylime_bench::fleet::measured_files::{BANK, MeasuredFiles};
use keylime_engine::algorithm::Digest;
use keylime_engine::ima::{ImaContext, ImaOptions, ImaState, appraise};
use keylime_engine::policy::CompiledRuntimePolicy;
use std::hint::black_box;

fn ima_appraisal(criterion: &mut Criterion) {
    let files = MeasuredFiles::new(20_000);
    let policy = CompiledRuntimePolicy::compile(files.policy()).expect("the policy compiles");
    let mut group = criterion.benchmark_group("ima_appraisal");
    for entries in [64_u64, 10_000] {
        let list = files.list(0, entries, None);
        let mut pcr10 = Digest::filled(0, BANK.digest_len());
        for position in 0..entries {
            pcr10 = BANK.digest(&[pcr10.as_bytes(), files.entry(position, None).extension().as_bytes()]);
        }
        let context = ImaContext {
            policy: &policy,
            tenant_keyring: None,
            bank: BANK,
            quoted_pcr10: Some(pcr10.as_bytes()),
            boot_aggregates: &[],
            options: ImaOptions::default(),
        };
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter(|| {
                let appraisal = appraise(black_box(&list), &ImaState::default(), &context);
                assert!(appraisal.failures.is_empty());
                appraisal
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ima_appraisal);
criterion_main!(benches);
