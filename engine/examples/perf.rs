use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::*;
use keylime_engine::policy::CompiledRuntimePolicy;
struct Instant(u64);
impl Instant {
    fn now() -> Self {
        Self(cpu())
    }
    fn elapsed(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(cpu() - self.0)
    }
}
fn cpu() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse().unwrap()
}
fn path(i: usize) -> String {
    format!("/usr/lib/x86_64-linux-gnu/package-{}/component/file-{i:06}.so.1", i / 40)
}
fn digest(i: usize) -> String {
    HashAlgorithm::Sha256.digest(&[&i.to_le_bytes()]).to_hex()
}
fn line(i: usize, h: HashAlgorithm) -> String {
    let (p, d) = (path(i), digest(i));
    let mut r = measurement_list::EntryReader::default();
    let l = format!("10 {} ima-ng sha256:{d} {p}", "11".repeat(h.digest_len()));
    let t = h.digest(&[r.read(&l).unwrap().template_data]).to_hex();
    format!("10 {t} ima-ng sha256:{d} {p}\n")
}
fn main() {
    let n = 100_000;
    let mut order: Vec<usize> = (0..n).collect();
    let mut s = 12345u64;
    for i in (1..n).rev() {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        order.swap(i, (s >> 33) as usize % (i + 1));
    }
    for log in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
        let entries: Vec<String> = (0..n).map(|i| format!("\"{}\":[\"{}\"]", path(i), digest(i))).collect();
        let policy = format!(
            "{{\"meta\":{{\"version\":1,\"generator\":3}},\"release\":0,\"digests\":{{{}}},\"excludes\":[\"/tmp/.*\",\"/var/log/.*\"],\"keyrings\":{{}},\"ima\":{{\"ignored_keyrings\":[],\"log_hash_alg\":\"{}\",\"dm_policy\":null}},\"ima-buf\":{{}},\"verification-keys\":\"\"}}",
            entries.join(","),
            log.name()
        );
        let mut best = f64::MAX;
        for _ in 0..5 {
            let t = Instant::now();
            let c = CompiledRuntimePolicy::compile(&policy).unwrap();
            best = best.min(t.elapsed().as_secs_f64());
            std::hint::black_box(&c);
        }
        let c = CompiledRuntimePolicy::compile(&policy).unwrap();
        println!(
            "compile {:.1} ms ({} MB json), memory {:.2} MiB",
            best * 1e3,
            policy.len() / 1_000_000,
            c.memory_bytes() as f64 / 1048576.0
        );
        for (name, shuffled) in [("in order", false), ("shuffled", true)] {
            let list: String = (0..n).map(|i| line(if shuffled { order[i] } else { i }, log)).collect();
            let ctx = ImaContext {
                policy: &c,
                tenant_keyring: None,
                bank: HashAlgorithm::Sha256,
                quoted_pcr10: None,
                boot_aggregates: &[],
                options: ImaOptions::default(),
            };
            let mut best = f64::MAX;
            for _ in 0..60 {
                let t = Instant::now();
                let a = appraise(&list, &ImaState::default(), &ctx);
                best = best.min(t.elapsed().as_secs_f64());
                assert!(a.failures.is_empty());
                std::hint::black_box(&a);
            }
            println!("log {log} {name}: {:.2} M entries/s ({:.0} ns)", n as f64 / best / 1e6, best * 1e9 / n as f64);
            let part: String = (0..64).map(|i| line(if shuffled { order[i] } else { i }, log)).collect();
            let mut best = f64::MAX;
            for _ in 0..200 {
                let t = Instant::now();
                let a = appraise(&part, &ImaState::default(), &ctx);
                best = best.min(t.elapsed().as_secs_f64());
                std::hint::black_box(&a);
            }
            println!("  64 lines {:.1} us", best * 1e6);
        }
    }
    let data = vec![7u8; 110];
    for h in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
        let t = Instant::now();
        for _ in 0..1_000_000 {
            std::hint::black_box(h.digest(&[&data]));
        }
        println!("{h} 110 B {:.0} ns", t.elapsed().as_secs_f64() * 1e3);
        let t = Instant::now();
        let a = if h == HashAlgorithm::Sha1 {
            &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY
        } else {
            &aws_lc_rs::digest::SHA256
        };
        for _ in 0..1_000_000 {
            std::hint::black_box(aws_lc_rs::digest::digest(a, &data));
        }
        println!("{h} one-shot 110 B {:.0} ns", t.elapsed().as_secs_f64() * 1e3);
    }
    {
        use sha2::Digest as _;
        let t = Instant::now();
        for _ in 0..1_000_000 {
            std::hint::black_box(sha2::Sha256::digest(&data));
        }
        println!("rustcrypto sha256 {:.0} ns", t.elapsed().as_secs_f64() * 1e3);
        let t = Instant::now();
        for _ in 0..1_000_000 {
            std::hint::black_box(sha1::Sha1::digest(&data));
        }
        println!("rustcrypto sha1 {:.0} ns", t.elapsed().as_secs_f64() * 1e3);
    }
}
