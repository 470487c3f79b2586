package interop

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownNamespace skips a benchmark outside of a namespace of its own, which it cannot make: it cannot be executed again.
//
//	unshare -Urn go test -run '^$' -bench . ./interop
func ownNamespace(b *testing.B) {
	b.Helper()
	links, err := net.Interfaces()
	if err != nil || len(links) != 1 || links[0].Flags&net.FlagLoopback == 0 {
		b.Skip("not in an empty network namespace; run it as: unshare -Urn go test -run '^$' -bench . ./interop")
	}
}

// BenchmarkStream is bytes of one connection in each direction, without hashing: an operation is 256 KiB.
func BenchmarkStream(b *testing.B) {
	ownNamespace(b)
	const op = 256 << 10
	for _, mode := range modes {
		b.Run(mode.name, func(b *testing.B) {
			for _, toWeir := range []bool{true, false} {
				name := "kernel to weir"
				if !toWeir {
					name = "weir to kernel"
				}
				b.Run(name, func(b *testing.B) {
					w := newWorld(b, options{plain: mode.plain, noPool: true})
					p := w.weirDials(v4)
					from, to := halfCloser(p.kernel), halfCloser(p.weir)
					if !toWeir {
						from, to = to, from
					}
					done := make(chan error, 1)
					go func() {
						_, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{to}, make([]byte, op))
						done <- err
					}()
					b.SetBytes(op)
					b.ReportAllocs()
					before := cpuTime(b)
					for b.Loop() {
						if _, err := from.Write(block()[:op]); err != nil {
							b.Fatal(err)
						}
					}
					from.CloseWrite()
					if err := <-done; err != nil {
						b.Error(err)
					}
					b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N)/op*1e9, "cpu-s/GB")
					st := w.tun.Stats()
					b.ReportMetric(float64(st.RxPackets)/float64(b.N), "in/op")
					b.ReportMetric(float64(st.TxPackets)/float64(b.N), "out/op")
				})
			}
		})
	}
}

// cpuTime is what this process has used of the processors, in the kernel too: both ends of its connections.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRoundTrip is one byte there and back.
func BenchmarkRoundTrip(b *testing.B) {
	ownNamespace(b)
	w := newWorld(b, options{noPool: true})
	p := w.weirDials(v4)
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(onlyWriter{p.weir}, onlyReader{p.weir}, make([]byte, 1))
		done <- err
	}()
	one := []byte{1}
	for b.Loop() {
		if _, err := p.kernel.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := p.kernel.Read(one); err != nil {
			b.Fatal(err)
		}
	}
	p.kernel.CloseWrite()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// onlyWriter hides other methods.
type onlyWriter struct{ io.Writer }
