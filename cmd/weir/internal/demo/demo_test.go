package demo

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
)

// run runs a demo in virtual time.
func run(t *testing.T, o Options) *Result {
	t.Helper()
	var r *Result
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 12*time.Hour)
		defer cancel()
		var err error
		if r, err = Run(ctx, o); err != nil {
			t.Fatal(err)
		}
	})
	if r == nil {
		t.FailNow()
	}
	return r
}

func TestBytesAreEqualOnEveryLink(t *testing.T) {
	for name, c := range map[string]struct {
		o     Options
		least float64 // of the link, if the test says something about it
	}{
		"default":          {Options{Rate: 100e6, Delay: 20 * time.Millisecond, MTU: 1500, Size: 32 << 20}, 0.90},
		"reno":             {Options{Rate: 100e6, Delay: 20 * time.Millisecond, MTU: 1500, Size: 32 << 20, Congestion: "reno"}, 0.88},
		"1 % loss":         {Options{Rate: 100e6, Delay: 20 * time.Millisecond, MTU: 1500, Size: 4 << 20, Loss: 0.01}, 0},
		"5 % loss":         {Options{Rate: 100e6, Delay: 20 * time.Millisecond, MTU: 1500, Size: 1 << 20, Loss: 0.05}, 0},
		"30 % loss":        {Options{Rate: 100e6, Delay: 20 * time.Millisecond, MTU: 1500, Size: 128 << 10, Loss: 0.3}, 0},
		"MTU 576":          {Options{Rate: 100e6, Delay: 20 * time.Millisecond, MTU: 576, Size: 16 << 20}, 0.80}, // of at most 0.91
		"MTU 9000":         {Options{Rate: 100e6, Delay: 20 * time.Millisecond, MTU: 9000, Size: 32 << 20}, 0.85},
		"MTU 576, loss":    {Options{Rate: 10e6, Delay: 20 * time.Millisecond, MTU: 576, Size: 256 << 10, Loss: 0.05}, 0},
		"MTU 65535":        {Options{Rate: 1e9, Delay: time.Millisecond, MTU: 65535, Size: 8 << 20}, 0},
		"slow":             {Options{Rate: 56e3, Delay: 300 * time.Millisecond, MTU: 1500, Size: 64 << 10}, 0},
		"no rate, no time": {Options{MTU: 1500, Size: 8 << 20}, 0},
		"empty":            {Options{Rate: 100e6, MTU: 1500}, 0},
		"one byte":         {Options{Rate: 100e6, MTU: 1500, Size: 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, c.o)
			if !r.Equal() || r.Received != c.o.Size {
				t.Errorf("%d of %d bytes arrived, sums %x and %x", r.Received, c.o.Size, r.Sent, r.Got)
			}
			if r.LinkFraction < c.least {
				t.Errorf("goodput is %.1f %% of the link, want at least %.0f %%", 100*r.LinkFraction, 100*c.least)
			}
			if c.o.Loss > 0 && r.Server.Retransmits == 0 {
				t.Error("nothing was retransmitted on a lossy link")
			}
		})
	}
}

func TestReport(t *testing.T) {
	o := Options{Rate: 100e6, Delay: 20 * time.Millisecond, MTU: 1500, Size: 1 << 20}
	var out bytes.Buffer
	o.Out = &out
	o.Describe(&out)
	r := run(t, o)
	r.Table(&out, o)
	for _, want := range []string{"100 Mbit/s, 20ms round trip", "goodput", "% of the link)", "round trip", "retransmitted", "packets", "the bytes are equal"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
	r.Got[0]++
	out.Reset()
	if r.Table(&out, o); !strings.Contains(out.String(), "DIFFER") {
		t.Errorf("the report does not say that bytes differ:\n%s", out.String())
	}
}

func TestPcap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "demo.pcapng")
	r := run(t, Options{Rate: 100e6, Delay: time.Millisecond, MTU: 1500, Size: 100_000, Pcap: file})
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	packets := uint64(0)
	for {
		if _, _, err := p.ReadPacketData(); err != nil {
			break
		}
		packets++
	}
	if least := r.Interfaces[0].TxPackets; packets < least {
		t.Errorf("%d packets in the capture, want at least the %d that the server sent", packets, least)
	}
	if _, err := Run(context.Background(), Options{MTU: 1500, Pcap: filepath.Join(t.TempDir(), "no", "such")}); err == nil {
		t.Error("a capture file that cannot be made is no error")
	}
}
