//! What a Redis server 7.0.15 stored and replied when fed the same, and what holds for any bytes.

use super::*;

/// Per hll-sparse-max-bytes: elements added, size of the string, FNV-1a of the string, PFCOUNT.
const FED: &[(usize, &[(usize, usize, u64, u64)])] = &[
    (
        3000,
        &[
            (0, 18, 0x524b_c36d_036c_0579, 0),
            (1, 21, 0x5db2_e01c_3370_7b73, 1),
            (2, 24, 0xb5f4_39ba_372b_0f7f, 2),
            (5, 33, 0xa3e1_cce9_af22_5ff0, 5),
            (10, 48, 0x0866_bcd4_48ce_3760, 10),
            (50, 158, 0x968e_d5c2_cc4b_37ec, 50),
            (100, 285, 0x4000_51a0_d90b_9a9e, 99),
            (200, 505, 0xa29f_dd5c_1759_b960, 200),
            (400, 875, 0xc016_f803_cf7d_3620, 401),
            (600, 1229, 0x1cb2_f0b6_5686_a4bf, 602),
            (800, 1571, 0x30e6_cac0_585e_2b4d, 802),
            (1000, 1897, 0x1da5_62af_8b1c_0590, 997),
            (1200, 2230, 0x1dc8_f9b1_37a5_bdca, 1198),
            (1500, 2722, 0xd5e8_f914_0402_842a, 1500),
            (2000, 12_304, 0x43e2_7285_fcfb_a7ba, 2004),
            (3000, 12_304, 0x8201_2e0c_a668_361d, 3002),
            (5000, 12_304, 0xabdd_ad6e_006d_ecb5, 5005),
            (10_000, 12_304, 0xf7db_4664_df25_c7bf, 10_017),
            (30_000, 12_304, 0xf478_1e2d_bcb0_8507, 29_738),
        ],
    ),
    (
        200,
        &[
            (0, 18, 0x524b_c36d_036c_0579, 0),
            (1, 21, 0x5db2_e01c_3370_7b73, 1),
            (2, 24, 0xb5f4_39ba_372b_0f7f, 2),
            (5, 33, 0xa3e1_cce9_af22_5ff0, 5),
            (10, 48, 0x0866_bcd4_48ce_3760, 10),
            (50, 158, 0x968e_d5c2_cc4b_37ec, 50),
            (100, 12_304, 0xdb01_da8c_28e7_516b, 99),
            (200, 12_304, 0x5ced_0b95_aa62_a9b6, 200),
            (400, 12_304, 0x7429_4dea_b9d8_294d, 401),
            (600, 12_304, 0x06c3_006f_ecf1_d5f0, 602),
            (800, 12_304, 0xc847_e6c9_fc9a_7b64, 802),
            (1000, 12_304, 0xd22d_d7c8_94fa_5692, 997),
            (1200, 12_304, 0x6a3d_c58e_8bc7_10ed, 1198),
            (1500, 12_304, 0x1a85_f90f_2366_01a0, 1500),
            (2000, 12_304, 0x43e2_7285_fcfb_a7ba, 2004),
            (3000, 12_304, 0x8201_2e0c_a668_361d, 3002),
            (5000, 12_304, 0xabdd_ad6e_006d_ecb5, 5005),
            (10_000, 12_304, 0xf7db_4664_df25_c7bf, 10_017),
            (30_000, 12_304, 0xf478_1e2d_bcb0_8507, 29_738),
        ],
    ),
    (
        0,
        &[
            (0, 18, 0x524b_c36d_036c_0579, 0),
            (1, 12_304, 0x0a72_9531_e698_93ca, 1),
            (2, 12_304, 0x258f_a5d4_2d61_2277, 2),
            (5, 12_304, 0x2ee6_1edd_f415_ce5a, 5),
            (10, 12_304, 0x853d_a7c5_6ec3_d42d, 10),
            (50, 12_304, 0x40dd_a05c_9477_6d71, 50),
            (100, 12_304, 0xdb01_da8c_28e7_516b, 99),
            (200, 12_304, 0x5ced_0b95_aa62_a9b6, 200),
            (400, 12_304, 0x7429_4dea_b9d8_294d, 401),
            (600, 12_304, 0x06c3_006f_ecf1_d5f0, 602),
            (800, 12_304, 0xc847_e6c9_fc9a_7b64, 802),
            (1000, 12_304, 0xd22d_d7c8_94fa_5692, 997),
            (1200, 12_304, 0x6a3d_c58e_8bc7_10ed, 1198),
            (1500, 12_304, 0x1a85_f90f_2366_01a0, 1500),
            (2000, 12_304, 0x43e2_7285_fcfb_a7ba, 2004),
            (3000, 12_304, 0x8201_2e0c_a668_361d, 3002),
            (5000, 12_304, 0xabdd_ad6e_006d_ecb5, 5005),
            (10_000, 12_304, 0xf7db_4664_df25_c7bf, 10_017),
            (30_000, 12_304, 0xf478_1e2d_bcb0_8507, 29_738),
        ],
    ),
    (
        16_000,
        &[
            (0, 18, 0x524b_c36d_036c_0579, 0),
            (1, 21, 0x5db2_e01c_3370_7b73, 1),
            (2, 24, 0xb5f4_39ba_372b_0f7f, 2),
            (5, 33, 0xa3e1_cce9_af22_5ff0, 5),
            (10, 48, 0x0866_bcd4_48ce_3760, 10),
            (50, 158, 0x968e_d5c2_cc4b_37ec, 50),
            (100, 285, 0x4000_51a0_d90b_9a9e, 99),
            (200, 505, 0xa29f_dd5c_1759_b960, 200),
            (400, 875, 0xc016_f803_cf7d_3620, 401),
            (600, 1229, 0x1cb2_f0b6_5686_a4bf, 602),
            (800, 1571, 0x30e6_cac0_585e_2b4d, 802),
            (1000, 1897, 0x1da5_62af_8b1c_0590, 997),
            (1200, 2230, 0x1dc8_f9b1_37a5_bdca, 1198),
            (1500, 2722, 0xd5e8_f914_0402_842a, 1500),
            (2000, 3495, 0xc44d_a133_75c4_69c2, 2004),
            (3000, 4899, 0xc1ba_cb83_6234_f625, 3002),
            (5000, 7205, 0xea39_e2a1_62f9_4251, 5005),
            (10_000, 10_628, 0x8361_038a_46ba_87a1, 10_017),
            (30_000, 13_596, 0x677a_c0e7_4581_e93f, 29_738),
        ],
    ),
];

fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn fed(range: std::ops::Range<usize>) -> Vec<u8> {
    let mut sketch = create();
    for n in range {
        add(&mut sketch, format!("element:{n}").as_bytes(), 3000).unwrap();
    }
    sketch
}

#[test]
fn bytes_and_counts_equal_those_of_redis() {
    for &(sparse_max, checkpoints) in FED {
        let mut sketch = create();
        // PFADD without elements creates the key, which counts as a change.
        invalidate_cache(&mut sketch).unwrap();
        let mut added = 0;
        for &(elements, size, hash, estimated) in checkpoints {
            for n in added..elements {
                add(&mut sketch, format!("element:{n}").as_bytes(), sparse_max).unwrap();
            }
            added = elements;
            assert_eq!(sketch.len(), size, "after {elements} elements, at most {sparse_max} bytes sparse");
            assert_eq!(fnv(&sketch), hash, "after {elements} elements, at most {sparse_max} bytes sparse");
            assert_eq!(count(&sketch), Ok(estimated));
            assert_eq!(cached_count(&sketch), Ok(None));
            cache_count(&mut sketch, estimated).unwrap();
            assert_eq!(cached_count(&sketch), Ok(Some(estimated)));
        }
    }
}

#[test]
fn runs_are_decoded_as_redis_prints_them() {
    let text = "Z:1167 v:1,1 Z:1340 v:2,1 Z:148 v:2,1 Z:345 v:3,1 z:35 v:3,1 Z:1016 v:1,1 Z:125 v:5,1 \
                Z:1282 v:1,1 Z:2740 v:2,1 Z:115 v:1,1 Z:6365 v:1,1 Z:1104 v:2,1 Z:590";
    assert_eq!(decode(&fed(0..12)), Ok(Some(text.to_owned())));
    assert_eq!(decode(&fed(0..3000)), Ok(None));
}

#[test]
fn merging_equals_that_of_redis() {
    let (a, b, c) = (fed(0..700), fed(500..1100), fed(1000..9000));
    let cases: [(&[&[u8]], usize, u64, u64); 4] = [
        (&[], 21, 0x0748_f0a7_44bb_fbeb, 1),
        (&[&a], 1403, 0x5d78_cb24_c2c0_0453, 704),
        (&[&a, &b], 2059, 0xc204_3e2a_3a30_9ea8, 1096),
        (&[&a, &b, &c], 12_304, 0x26d5_ccd0_1513_d551, 8995),
    ];
    for (sources, size, hash, estimated) in cases {
        let mut target = create();
        add(&mut target, b"own", 3000).unwrap();
        let mut union = Registers::new();
        union.merge(&target).unwrap();
        let mut dense = false;
        for source in sources {
            dense |= union.merge(source).unwrap() == Encoding::Dense;
        }
        if dense {
            to_dense(&mut target).unwrap();
        }
        union.store(&mut target, 3000).unwrap();
        assert_eq!((target.len(), fnv(&target)), (size, hash));
        assert_eq!(count(&target), Ok(estimated));
        assert_eq!(union.count(), estimated);
    }
}

#[test]
fn registers_survive_the_change_of_encoding() {
    let mut sketch = fed(0..1000);
    let (mut sparse, mut dense) = (Registers::new(), Registers::new());
    assert_eq!(sparse.merge(&sketch), Ok(Encoding::Sparse));
    assert_eq!(to_dense(&mut sketch), Ok(true));
    assert_eq!(to_dense(&mut sketch), Ok(false));
    assert_eq!(dense.merge(&sketch), Ok(Encoding::Dense));
    assert_eq!(sparse, dense);
    for (register, &value) in dense.as_slice().iter().enumerate() {
        assert_eq!(dense_get(&sketch[HEADER_SIZE..], register), value);
    }
}

#[test]
fn other_strings_are_refused() {
    let header = |encoding: u8, rest: &[u8]| [b"HYLL", &[encoding][..], &[0; 11], rest].concat();
    for bytes in [b"".to_vec(), b"HYLL".to_vec(), header(0, b""), header(2, b""), header(0, &[0; 12_289])] {
        assert_eq!(encoding(&bytes), Err(Invalid::NotHyperLogLog));
        assert_eq!(count(&bytes), Err(Invalid::NotHyperLogLog));
        assert_eq!(add(&mut bytes.clone(), b"x", 3000), Err(Invalid::NotHyperLogLog));
    }
    for runs in [&b""[..], b"\x7f\xfe", b"\x7f\xff\x00", b"\x7f", b"\x7f\xff\x80"] {
        let mut bytes = header(1, runs);
        assert_eq!(encoding(&bytes), Ok(Encoding::Sparse));
        assert_eq!(count(&bytes), Err(Invalid::Corrupted));
        assert_eq!(decode(&bytes), Err(Invalid::Corrupted));
        assert_eq!(Registers::new().merge(&bytes), Err(Invalid::Corrupted));
        assert_eq!(to_dense(&mut bytes), Err(Invalid::Corrupted));
    }
    assert_eq!(add(&mut header(1, b""), b"x", 3000), Err(Invalid::Corrupted));
    let text = "WRONGTYPE Key is not a valid HyperLogLog string value.";
    assert_eq!(Invalid::NotHyperLogLog.to_string(), text);
    assert_eq!(Invalid::Corrupted.to_string(), "INVALIDOBJ Corrupted HLL object detected");
}

#[test]
fn the_self_test_passes() {
    assert_eq!(self_test(1, 3000), Ok(()));
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut rng = Rng::seeded(1);
    for round in 0..3000 {
        let mut bytes = fed(0..rng.below(40) as usize);
        for _ in 0..rng.below(5) + 1 {
            let place = 16 + rng.below(bytes.len() as u64 - 16) as usize;
            bytes[place] = rng.next_u64() as u8;
        }
        if round % 3 == 0 {
            bytes.truncate(16 + rng.below(bytes.len() as u64 - 16) as usize);
        }
        let _ = (count(&bytes), decode(&bytes), Registers::new().merge(&bytes));
        for n in 0..20 {
            let _ = add(&mut bytes, &[n], rng.below(100) as usize);
        }
        let _ = to_dense(&mut bytes);
    }
    let mut dense = fed(0..2000);
    dense[16..].fill(0xff);
    let _ = count(&dense);
}
