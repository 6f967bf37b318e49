//! Appraisal of measurement lists and compilation of runtime policies.
//!
//! The list has 100,000 `ima-ng` entries, the policy one digest for each of their paths. Entries come in the order of the
//! policy and shuffled, because a real list follows neither. `hashing alone` is the floor: the hashes an entry needs and
//! nothing else.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::measurement_list::EntryReader;
use keylime_engine::ima::{ImaContext, ImaOptions, ImaState, appraise};
use keylime_engine::policy::CompiledRuntimePolicy;
use std::hint::black_box;

const ENTRIES: usize = 100_000;

/// New lines between two quotes of a busy machine.
const NEW_LINES: usize = 64;

fn path(number: usize) -> String {
    format!("/usr/lib/x86_64-linux-gnu/package-{}/component/file-{number:06}.so.1", number / 40)
}

fn digest(number: usize) -> String {
    HashAlgorithm::Sha256.digest(&[&number.to_le_bytes()]).to_hex()
}

fn line(number: usize) -> String {
    let fields = format!("ima-ng sha256:{} {}", digest(number), path(number));
    let mut reader = EntryReader::default();
    let hash = match reader.read(&format!("10 00 {fields}")) {
        Ok(entry) => HashAlgorithm::Sha1.digest(&[entry.template_data]),
        Err(error) => panic!("the bench builds a malformed line: {error}"),
    };
    format!("10 {} {fields}\n", hash.to_hex())
}

fn policy_text() -> String {
    let digests: Vec<String> = (0..ENTRIES).map(|n| format!(r#""{}":["{}"]"#, path(n), digest(n))).collect();
    format!(
        r#"{{"meta":{{"version":1,"generator":3}},"release":0,"digests":{{{}}},"excludes":["/tmp/.*","/var/log/.*"],"keyrings":{{}},"ima":{{"ignored_keyrings":[],"log_hash_alg":"sha1","dm_policy":null}},"ima-buf":{{}},"verification-keys":""}}"#,
        digests.join(",")
    )
}

/// The numbers below [`ENTRIES`] in an order without pattern.
fn shuffled() -> Vec<usize> {
    let mut order: Vec<usize> = (0..ENTRIES).collect();
    let mut state = 1_u64;
    for index in (1..ENTRIES).rev() {
        // Knuth's linear congruential generator: any fixed order will do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(index, usize::try_from(state >> 33).unwrap_or_default() % (index + 1));
    }
    order
}

fn ima(criterion: &mut Criterion) {
    let text = policy_text();
    let policy = match CompiledRuntimePolicy::compile(&text) {
        Ok(policy) => policy,
        Err(error) => panic!("the bench builds a malformed policy: {error}"),
    };
    println!("policy of {ENTRIES} digests: {} KiB in memory", policy.memory_bytes() / 1024);
    let context = ImaContext {
        policy: &policy,
        tenant_keyring: None,
        bank: HashAlgorithm::Sha256,
        quoted_pcr10: None,
        boot_aggregates: &[],
        options: ImaOptions::default(),
    };
    let state = ImaState::default();

    let mut group = criterion.benchmark_group("ima");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ENTRIES as u64));
    for (name, order) in [("in order", (0..ENTRIES).collect()), ("shuffled", shuffled())] {
        let list: String = order.into_iter().map(line).collect();
        group.bench_function(format!("full list {name}"), |b| b.iter(|| appraise(black_box(&list), &state, &context)));
    }
    let data = [7_u8; 110];
    group.bench_function("hashing alone", |b| {
        b.iter(|| {
            for _ in 0..ENTRIES {
                black_box(HashAlgorithm::Sha1.digest(&[black_box(&data)]));
                black_box(HashAlgorithm::Sha256.digest(&[black_box(&data)]));
                black_box(HashAlgorithm::Sha256.digest(&[black_box(&data[..64])]));
            }
        });
    });
    group.throughput(Throughput::Elements(NEW_LINES as u64));
    let new: String = (0..NEW_LINES).map(line).collect();
    group.bench_function("64 new lines", |b| b.iter(|| appraise(black_box(&new), &state, &context)));
    group.finish();

    let mut group = criterion.benchmark_group("runtime policy");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("compile", |b| {
        b.iter_batched(|| text.as_str(), |text| CompiledRuntimePolicy::compile(black_box(text)), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, ima);
criterion_main!(benches);
