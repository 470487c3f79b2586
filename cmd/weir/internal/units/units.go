// Package units reads and writes sizes, rates and shares as people spell them: 32MiB, 100mbit, 0.5%.
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// unit is a suffix and what it multiplies by.
type unit struct {
	suffix string
	factor float64
}

// sizes are in bytes: IEC suffixes are powers of 1024, SI ones powers of 1000.
var sizes = [...]unit{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40},
	{"b", 1}, {"", 1},
}

// rates are in bits a second, as tc(8) has them: "bit" suffixes count bits, "bps" bytes.
var rates = [...]unit{
	{"kbit/s", 1e3}, {"mbit/s", 1e6}, {"gbit/s", 1e9}, {"bit/s", 1},
	{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1},
	{"kbps", 8e3}, {"mbps", 8e6}, {"gbps", 8e9}, {"bps", 8},
	{"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"", 1},
}

// parse reads a number with one of the suffixes, the first that fits.
func parse(s string, units []unit) (float64, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, u := range units {
		if u.suffix != "" && !strings.HasSuffix(s, u.suffix) {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(s, u.suffix)), 64)
		v := n * u.factor
		return v, err == nil && v >= 0 && v <= math.MaxInt64/2
	}
	return 0, false
}

// ParseSize reads a number of bytes: 65536, 64KiB, 64k, 64kB.
func ParseSize(s string) (int64, error) {
	v, ok := parse(s, sizes[:])
	if !ok {
		return 0, fmt.Errorf("%q is not a size: write it like 65536, 64KiB or 32MiB", s)
	}
	return int64(v), nil
}

// ParseRate reads a number of bits a second: 100mbit, 1.5gbit, 56kbit/s; 0 means no limit.
func ParseRate(s string) (int64, error) {
	v, ok := parse(s, rates[:])
	if !ok {
		return 0, fmt.Errorf("%q is not a rate: write it like 100mbit, 1gbit or 56kbit", s)
	}
	return int64(v), nil
}

// ParseShare reads a probability: 0.5% or 0.005.
func ParseShare(s string) (float64, error) {
	v, ok := parse(s, []unit{{"%", 0.01}, {"", 1}})
	if !ok || v > 1 {
		return 0, fmt.Errorf("%q is not a share: write it like 0.5%% or 0.005", s)
	}
	return v, nil
}

// FormatSize writes a number of bytes with three or four digits.
func FormatSize(n int64) string {
	f, i := float64(n), 0
	for ; f >= 1024 && i < 4; i++ {
		f /= 1024
	}
	return trim(f) + []string{" B", " KiB", " MiB", " GiB", " TiB"}[i]
}

// FormatRate writes a number of bits a second.
func FormatRate(n float64) string {
	i := 0
	for ; n >= 1000 && i < 3; i++ {
		n /= 1000
	}
	return trim(n) + []string{" bit/s", " kbit/s", " Mbit/s", " Gbit/s"}[i]
}

// trim writes a number with one decimal, unless that is zero.
func trim(f float64) string { return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") }

// Size, Rate and Share are flag values (pflag.Value) of the three kinds.
type (
	Size  int64
	Rate  int64
	Share float64
)

func (v *Size) Set(s string) error {
	n, err := ParseSize(s)
	*v = Size(n)
	return err
}

func (v *Size) String() string { return strings.ReplaceAll(FormatSize(int64(*v)), " ", "") }

// Type is the word that stands for the value in help texts.
func (v *Size) Type() string { return "size" }

func (v *Rate) Set(s string) error {
	n, err := ParseRate(s)
	*v = Rate(n)
	return err
}

func (v *Rate) String() string {
	return strings.ToLower(strings.NewReplacer(" ", "", "/s", "").Replace(FormatRate(float64(*v))))
}

// Type is the word that stands for the value in help texts.
func (v *Rate) Type() string { return "rate" }

func (v *Share) Set(s string) error {
	f, err := ParseShare(s)
	*v = Share(f)
	return err
}

func (v *Share) String() string {
	return strconv.FormatFloat(float64(*v)*100, 'f', -1, 64) + "%"
}

// Type is the word that stands for the value in help texts.
func (v *Share) Type() string { return "share" }
