use super::*;

fn printed(path: &str) -> Result<String, NoDevicePath> {
    let path = hex::decode(path).unwrap();
    text(&path, path.len())
}

#[test]
fn disks_and_files() {
    assert_eq!(
        printed("02010c00d041030a0000000001010600030201010600000004041000410042005c00630000007fff0400").unwrap(),
        "PciRoot(0x0)/Pci(0x2,0x3)/Pci(0x0,0x0)/File(AB\\c)"
    );
    assert_eq!(printed("0317100001000000002538b221d137507fff0400").unwrap(), "NVMe(0x1,00-25-38-B2-21-D1-37-50)");
    assert_eq!(
        printed("04012a0001000000000800000000000000000800000000006ff6beb80910cc47b34a6db8fd8f772c02027fff0400")
            .unwrap(),
        "HD(1,GPT,b8bef66f-1009-47cc-b34a-6db8fd8f772c,0x800,0x80000)"
    );
    assert_eq!(
        printed("04071400c9bdb87cebf8344faaea3ee4af6516a10406140021aa2c4614760345836e8ab6f46623317fff0400").unwrap(),
        "FvVol(7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1)/FvFile(462caa21-7614-4503-836e-8ab6f4662331)"
    );
}

#[test]
fn networks() {
    let mac = format!("030b2500525400123456{}017fff0400", "00".repeat(26));
    assert_eq!(printed(&mac).unwrap(), "MAC(525400123456,1)");
    assert_eq!(
        printed(
            "030c1b000a0000010a000002000050000600010a0000fe\
                 ffffff00"
        )
        .unwrap(),
        "IPv4(10.0.0.2:80,TCP,Static,10.0.0.1,10.0.0.254,255.255.255.0)"
    );
    assert_eq!(printed("03180a00687474703a2f7fff0400").unwrap(), "Uri(http:/)");
}

#[test]
fn what_is_no_path_is_refused() {
    assert_eq!(printed("01020304050607"), Err(NoDevicePath), "longer than what is there");
    assert_eq!(printed("010100"), Err(NoDevicePath), "shorter than a header");
    assert_eq!(printed("01010000"), Err(NoDevicePath), "a node without length");
    assert_eq!(printed("0404080000d84100"), Err(NoDevicePath), "half of a surrogate pair");
    assert_eq!(printed("").as_deref(), Ok(""));
    assert_eq!(printed("7fff0400").as_deref(), Ok(""));
}

#[test]
fn a_path_that_ends_early_keeps_what_was_printed() {
    assert_eq!(printed("010106000003020101").as_deref(), Ok("Pci(0x3,0x0)"));
}
