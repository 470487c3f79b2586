package interop

import (
	"testing"
	"time"

	"github.com/weirnet/weir"
)

// Kernels whose TCP is not as usual: options turned off, ECN asked for, SYN cookies, small buffers.
func TestKernelOptions(t *testing.T) {
	type settings map[string]string // below net/ipv4
	tests := []struct {
		name string
		settings
		size                       int64
		noStamps, noSACK, noWScale bool
	}{
		{name: "no timestamps", settings: settings{"tcp_timestamps": "0"}, noStamps: true},
		{name: "no SACK", settings: settings{"tcp_sack": "0"}, noSACK: true},
		{name: "no window scaling", settings: settings{"tcp_window_scaling": "0"}, noWScale: true},
		{name: "none of these", settings: settings{"tcp_timestamps": "0", "tcp_sack": "0", "tcp_window_scaling": "0"},
			noStamps: true, noSACK: true, noWScale: true},
		{name: "ECN", settings: settings{"tcp_ecn": "1"}},
		{name: "ECN, no timestamps", settings: settings{"tcp_ecn": "1", "tcp_timestamps": "0"}, noStamps: true},
		{name: "SYN cookies", settings: settings{"tcp_syncookies": "2"}},
		{name: "SYN cookies, no timestamps", settings: settings{"tcp_syncookies": "2", "tcp_timestamps": "0"}, noStamps: true},
		{name: "small buffers", settings: settings{"tcp_rmem": "4096 8192 8192", "tcp_wmem": "4096 8192 8192"}, size: 1 << 20},
		{name: "Reno", settings: settings{"tcp_congestion_control": "reno"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inNamespace(t, func(t *testing.T) {
				for name, value := range test.settings {
					sysctl(t, "net/ipv4/"+name, value)
				}
				w := newWorld(t, options{})
				n := test.size
				if n == 0 {
					n = 8 << 20
				}
				for _, f := range w.families {
					for _, d := range dials {
						p := d.open(w, f)
						info := p.weir.Info()
						cookie := test.settings["tcp_syncookies"] != "" && d.name == "weir dials"
						switch {
						case info.Timestamps == test.noStamps:
							t.Errorf("%s, %s: timestamps %v", f.name, d.name, info.Timestamps)
						case cookie && test.noStamps: // SYN cookies keep options in timestamps
						case info.SACK == test.noSACK, (info.SendWScale == 0) != test.noWScale, (info.ReceiveWScale == 0) != test.noWScale:
							t.Errorf("%s, %s: SACK %v, window scales %d and %d", f.name, d.name, info.SACK, info.SendWScale, info.ReceiveWScale)
						}
						start := time.Now()
						w.together(exchange(p, size(n))...)
						t.Logf("%s, %s: %v", f.name, d.name, time.Since(start))
					}
				}
			})
		})
	}
}

// Stacks of ours whose TCP is not as usual.
func TestWeirOptions(t *testing.T) {
	for name, c := range map[string]weir.Config{
		"Reno":          {Congestion: "reno"},
		"small buffers": {SendBuffer: 16 << 10, ReceiveBuffer: 16 << 10},
		"large buffers": {SendBuffer: 64 << 20, ReceiveBuffer: 64 << 20},
		"little memory": {Memory: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t, func(t *testing.T) {
				w := newWorld(t, options{stack: c})
				for _, f := range w.families {
					for _, d := range dials {
						start := time.Now()
						w.together(exchange(d.open(w, f), size(4<<20))...)
						t.Logf("%s, %s: %v", f.name, d.name, time.Since(start))
					}
				}
			})
		})
	}
}
