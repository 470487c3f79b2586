package tun

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
)

// Open makes an interface that is up, of the MTU that was asked for, and of the name; Close removes it.
func TestOpen(t *testing.T) {
	all := link.TxChecksum | link.TxTSO4 | link.TxTSO6 | link.TxUSO | link.RxJoined
	tests := []struct {
		name, asked, got string
		options          Options
		mtu              int
		offloads         link.Offload
	}{
		{"by default", "weir0", "weir0", Options{}, 1500, all},
		{"counted", "weir%d", "weir0", Options{}, 1500, all},
		{"unnamed", "", "tun0", Options{Queues: 1}, 1500, all},
		{"of 65535 bytes", "weir0", "weir0", Options{MTU: 65535}, 65535, all},
		{"of three queues", "weir%d", "weir0", Options{Queues: 3}, 1500, all},
		{"plain", "weir0", "weir0", Options{MTU: 1280, NoOffload: true}, 1280, 0},
	}
	nstest.Run(t, func(t *testing.T) {
		nstest.TUN(t)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				d, err := Open(tt.asked, tt.options)
				if err != nil {
					t.Fatal(err)
				}
				i, err := net.InterfaceByName(tt.got)
				if err != nil || d.Name() != tt.got || i.MTU != tt.mtu || i.Flags&net.FlagUp == 0 {
					t.Errorf("%s: %+v, %v", d.Name(), i, err)
				}
				if got, want := d.Info(), (link.Info{MTU: tt.mtu, Offloads: tt.offloads, Queues: max(1, tt.options.Queues)}); got != want {
					t.Errorf("Info %+v, want %+v", got, want)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
				if i, err := net.InterfaceByName(tt.got); err == nil {
					t.Errorf("after Close there is still %+v", i)
				}
			})
		}
	})
}

// Every refusal says what to do.
func TestOpenErrors(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.TUN(t)
		taken, err := Open("taken", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		tests := []struct {
			name, device string
			options      Options
			is           error
			says         string
		}{
			{"busy", "taken", Options{}, unix.EBUSY, "end the program that has it open"},
			{"not a TUN device", "lo", Options{}, unix.EINVAL, "choose another name"},
			{"two queues where there is one", "taken", Options{Queues: 2}, unix.EINVAL, "one, or several"},
			{"too many queues", "weir0", Options{Queues: 257}, nil, "choose one of 0 to 256"},
			{"fewer than no queues", "weir0", Options{Queues: -1}, nil, "choose one of 0 to 256"},
			{"MTU too small", "weir0", Options{MTU: 67}, nil, "choose one of 68 to 65535"},
			{"MTU too large", "weir0", Options{MTU: 65536}, nil, "choose one of 68 to 65535"},
			{"name too long", "sixteen-bytes-ab", Options{}, nil, "choose one of at most 15"},
			{"name with a slash", "a/b", Options{}, nil, "cannot name an interface"},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				d, err := Open(tt.device, tt.options)
				var e *Error
				if d != nil || !errors.As(err, &e) || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) || e.Fix == "" {
					t.Errorf("Open = %v, %v; want %v and %q", d, err, tt.is, tt.says)
				}
			})
		}
	})
}

// What the host lacks is named, with the command that mends it. (These need a host that lacks it; see package sandbox for some live.)
func TestMissing(t *testing.T) {
	tests := []struct {
		err  error
		says string
	}{
		{openError("weir0", unix.ENOENT), "tun: open /dev/net/tun for weir0: no such file or directory; to mend it: sudo modprobe tun"},
		{openError("", unix.ENODEV), "tun: open /dev/net/tun: no such device; to mend it: sudo modprobe tun"},
		{openError("", unix.EACCES), "tun: open /dev/net/tun: permission denied; to mend it: sudo chmod 0666 /dev/net/tun"},
		{openError("", unix.EPERM), "--device /dev/net/tun"},
		{createError("weir0", unix.EPERM, false), "sudo ip tuntap add dev weir0 mode tun user"},
		{createError("", unix.EPERM, true), " multi_queue && sudo ip link set dev tun0 up"},
	}
	for _, tt := range tests {
		if !strings.Contains(tt.err.Error(), tt.says) {
			t.Errorf("%v, want %q", tt.err, tt.says)
		}
	}
}

// A device made in another namespace is served from here, as it is when another process sent its file.
func TestFromFile(t *testing.T) {
	for mode, o := range modes {
		t.Run(mode, func(t *testing.T) {
			nstest.Run(t, func(t *testing.T) {
				nstest.TUN(t)
				made := make(chan *os.File)
				go func() {
					defer close(made)
					runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
					if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
						t.Error(err)
						return
					}
					o.MTU = 4000
					file, err := OpenFile("other0", o)
					if err != nil {
						t.Error(err)
						return
					}
					nstest.Up(t, "lo")
					nstest.Addr(t, "other0", kernel4.String()+"/24")
					made <- file
				}()
				file := <-made
				if file == nil {
					return
				}
				// An interface of the same name here must not be mistaken for it.
				here, err := Open("other0", Options{MTU: 2000})
				if err != nil {
					t.Fatal(err)
				}
				defer here.Close()
				d, err := FromFile(file, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if err := file.Close(); err != nil {
					t.Error(err)
				}
				if i := d.Info(); i.MTU != 1500 || d.Name() != "other0" || (i.Offloads == 0) != o.NoOffload {
					t.Errorf("%s: %+v", d.Name(), i)
				}
				f := attach(t, d)
				for range 10 {
					f.echo(ours4, kernel4, 100)
				}
			})
		})
	}
}

// Of a file whose interface is here the MTU is known; offloads can be declined although the interface has them.
func TestFromFileHere(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.TUN(t)
		file, err := OpenFile("weir0", Options{MTU: 3000})
		if err != nil {
			t.Fatal(err)
		}
		d, err := FromFile(file, Options{NoOffload: true})
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if i := d.Info(); i != (link.Info{MTU: 3000, Queues: 1}) {
			t.Errorf("Info %+v", i)
		}
		nstest.Addr(t, "weir0", kernel4.String()+"/24")
		f := attach(t, d)
		f.echo(ours4, kernel4, 100)
		p := f.datagram(netip.AddrPortFrom(ours4, 9), netip.AddrPortFrom(kernel4, 7), pattern(10), true)
		f.send(p)
		if q, _ := f.await("port unreachable", func(b []byte) bool { h, ok := transport(b, protoICMP, kernel4, ours4); return ok && h[0] == 3 }); q.Checksum != packet.ChecksumNone {
			t.Errorf("checksum state %d", q.Checksum)
		} else {
			q.Release()
		}
	})
}

// What is no TUN file is refused.
func TestFromFileErrors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if d, err := FromFile(r, Options{}); d != nil || err == nil || !strings.Contains(err.Error(), "TUNSETIFF") {
		t.Errorf("FromFile(pipe) = %v, %v", d, err)
	}
	if _, err := FromFile(r, Options{Queues: 3}); err == nil {
		t.Error("three queues were taken")
	}
	w.Write([]byte("x")) // r was not closed, and still works
	r.SetReadDeadline(time.Now().Add(patience))
	if n, err := r.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	nstest.Run(t, func(t *testing.T) {
		nstest.TUN(t)
		fd, err := unix.Open(clone, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ifr, _ := unix.NewIfreq("tap0")
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			t.Fatal(err)
		}
		tap := os.NewFile(uintptr(fd), "tap0")
		defer tap.Close()
		if d, err := FromFile(tap, Options{}); d != nil || err == nil || !strings.Contains(err.Error(), "IFF_TUN") {
			t.Errorf("FromFile(tap) = %v, %v", d, err)
		}
	})
}
