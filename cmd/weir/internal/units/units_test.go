package units

import "testing"

func TestParse(t *testing.T) {
	sizes := map[string]int64{"0": 0, "1500": 1500, "32MiB": 32 << 20, "64k": 64 << 10, "64kB": 64000, "1.5 GiB": 3 << 29, "7b": 7}
	for in, want := range sizes {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	rates := map[string]int64{"100mbit": 100e6, "1.5gbit": 15e8, "56kbit/s": 56e3, "10Mbps": 80e6, "1000": 1000, "0": 0}
	for in, want := range rates {
		if got, err := ParseRate(in); err != nil || got != want {
			t.Errorf("ParseRate(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	shares := map[string]float64{"0.5%": 0.005, "0.005": 0.005, "100%": 1, "0": 0}
	for in, want := range shares {
		if got, err := ParseShare(in); err != nil || got != want {
			t.Errorf("ParseShare(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, in := range []string{"", "MiB", "-1", "1e400", "12 parsecs", "NaN", "inf"} {
		if v, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d", in, v)
		}
		if v, err := ParseRate(in); err == nil {
			t.Errorf("ParseRate(%q) = %d", in, v)
		}
	}
	for _, in := range []string{"101%", "2", "-0.1", "%"} {
		if v, err := ParseShare(in); err == nil {
			t.Errorf("ParseShare(%q) = %v", in, v)
		}
	}
}

func TestFlagValuesReadBack(t *testing.T) {
	size, rate, share := Size(32<<20), Rate(100e6), Share(0.005)
	if s := size.String(); s != "32MiB" || size.Set(s) != nil || size != 32<<20 {
		t.Errorf("size %q reads back as %d", s, size)
	}
	if s := rate.String(); s != "100mbit" || rate.Set(s) != nil || rate != 100e6 {
		t.Errorf("rate %q reads back as %d", s, rate)
	}
	if s := share.String(); s != "0.5%" || share.Set(s) != nil || share != 0.005 {
		t.Errorf("share %q reads back as %v", s, share)
	}
}
