use keylime_engine::policy::python_regex::PythonRegex;
use std::io::BufRead;
fn main() {
    let (mut n, mut bad) = (0, 0);
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let Ok(v) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        n += 1;
        let p = v["p"].as_str().unwrap();
        let a = PythonRegex::prefix_match(p);
        let f = PythonRegex::full_match(p);
        let err = v["err"].as_str();
        match (&a, err) {
            (Err(e), Some(m)) => {
                if e.to_string() != m {
                    bad += 1;
                    println!("MSG {p:?}: python {m:?} ours {:?}", e.to_string());
                }
            }
            (Err(e), None) => {
                bad += 1;
                println!("REFUSED {p:?}: {e}");
            }
            (Ok(_), Some(m)) => {
                bad += 1;
                println!("ACCEPTED {p:?}: python {m}");
            }
            (Ok(a), None) => {
                let f = f.as_ref().unwrap();
                for t in v["t"].as_array().unwrap() {
                    let s = t[0].as_str().unwrap();
                    if a.is_match(s) != t[1].as_bool().unwrap() {
                        bad += 1;
                        println!("MATCH {p:?} on {s:?}: python {}", t[1]);
                        break;
                    }
                    if f.is_match(s) != t[2].as_bool().unwrap() {
                        bad += 1;
                        println!("FULL {p:?} on {s:?}: python {}", t[2]);
                        break;
                    }
                }
            }
        }
    }
    println!("{n} patterns, {bad} differ");
}
