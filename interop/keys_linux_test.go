package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir"
	"github.com/weirnet/weir/tcp/auth"
)

// signing is a way to sign segments: how the kernel's sockets and weir's are told the key for a peer.
type signing struct {
	name   string
	kernel func(fd int, peer netip.Addr, key string) error
	weir   func(o *weir.SockOpts, key string)
}

var signings = []signing{
	{"TCP-MD5", kernelMD5, func(o *weir.SockOpts, key string) { o.Keys = &auth.Keys{MD5: []auth.MD5Key{{Key: []byte(key)}}} }},
	{"TCP-AO, HMAC-SHA-1", kernelAO("hmac(sha1)"), weirAO(auth.HMACSHA1)},
	{"TCP-AO, AES-CMAC", kernelAO("cmac(aes128)"), weirAO(auth.AESCMAC)},
}

func weirAO(a auth.Algorithm) func(*weir.SockOpts, string) {
	return func(o *weir.SockOpts, key string) {
		o.Keys = &auth.Keys{AO: []auth.AOKey{{SendID: 7, RecvID: 9, Algorithm: a, Key: []byte(key)}}}
	}
}

// sockaddr is the peer's address as a struct sockaddr_storage.
func sockaddr(peer netip.Addr) (b [128]byte) {
	if peer.Is4() {
		binary.NativeEndian.PutUint16(b[:], unix.AF_INET)
		copy(b[4:], peer.AsSlice())
		return b
	}
	binary.NativeEndian.PutUint16(b[:], unix.AF_INET6)
	copy(b[8:], peer.AsSlice())
	return b
}

// kernelMD5 is setsockopt(TCP_MD5SIG).
func kernelMD5(fd int, peer netip.Addr, key string) error {
	var s unix.TCPMD5Sig
	addr := sockaddr(peer)
	s.Addr.Family = binary.NativeEndian.Uint16(addr[:])
	for i, c := range addr[2:] {
		if i < len(s.Addr.Data) {
			s.Addr.Data[i] = c
		}
	}
	s.Keylen = uint16(len(key))
	copy(s.Key[:], key)
	return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &s)
}

// kernelAO is setsockopt(TCP_AO_ADD_KEY) with a struct tcp_ao_add, which x/sys does not have.
func kernelAO(algorithm string) func(int, netip.Addr, string) error {
	return func(fd int, peer netip.Addr, key string) error {
		const addKey = 38
		var b [288]byte
		addr := sockaddr(peer)
		copy(b[:], addr[:])
		copy(b[128:], algorithm)
		b[202] = byte(peer.BitLen())      // prefix
		b[203], b[204], b[205] = 9, 7, 12 // sndid, rcvid, maclen
		b[207] = byte(len(key))
		copy(b[208:], key)
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, addKey, string(b[:]))
	}
}

// control tells a kernel's socket its key before it is used.
func (s signing) control(peer netip.Addr, key string, failed *error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		_ = c.Control(func(fd uintptr) { *failed = s.kernel(int(fd), peer, key) })
		return *failed
	}
}

// skipIfMissing skips the test if the kernel was built without the option.
func skipIfMissing(t *testing.T, name string, err error) {
	t.Helper()
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.ENOENT) {
		t.Skipf("this kernel has no %s: %v", name, err)
	}
}

// open opens a signed connection, the kernel's side with one key and weir's with another, from the side that is to dial.
func (s signing) open(t *testing.T, w *world, f family, kernelDials bool, kernelKey, weirKey string, patience time.Duration) (p pair, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	var failed error
	control := s.control(f.weir, kernelKey, &failed)
	weirControl := func(o *weir.SockOpts) error { s.weir(o, weirKey); return nil }
	if kernelDials {
		l, err := (&weir.ListenConfig{Stack: w.stack, Control: weirControl}).Listen(ctx, "tcp", netip.AddrPortFrom(f.weir, 0).String())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := (&net.Dialer{Control: control}).DialContext(ctx, "tcp", l.Addr().String())
		skipIfMissing(t, s.name, failed)
		if err != nil {
			return p, err
		}
		_ = l.(*weir.TCPListener).SetDeadline(w.deadline())
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return w.opened(pair{c.(*net.TCPConn), a.(*weir.TCPConn)}), nil
	}
	l, err := (&net.ListenConfig{Control: control}).Listen(ctx, "tcp", netip.AddrPortFrom(f.kernel, 0).String())
	skipIfMissing(t, s.name, failed)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := (&weir.Dialer{Stack: w.stack, Control: weirControl}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return p, err
	}
	_ = l.(*net.TCPListener).SetDeadline(w.deadline())
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return w.opened(pair{a.(*net.TCPConn), c.(*weir.TCPConn)}), nil
}

// Signed connections with the kernel, opened from either side: megabytes both ways and an orderly end with the same key; with another no
// connection comes about, and weir counts why.
func TestSignedConnections(t *testing.T) {
	for _, s := range signings {
		t.Run(s.name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, plain bool) {
				w := newWorld(t, options{plain: plain})
				for _, f := range w.families {
					for _, kernelDials := range []bool{true, false} {
						p, err := s.open(t, w, f, kernelDials, "the key", "the key", patience)
						if err != nil {
							t.Fatalf("%s, kernel dials %v: %v", f.name, kernelDials, err)
						}
						w.together(exchange(p, size(2<<20))...)
						before := w.stack.Stats().TCP
						if _, err := s.open(t, w, f, kernelDials, "the key", "another", 1500*time.Millisecond); err == nil {
							t.Errorf("%s, kernel dials %v: a connection with different keys", f.name, kernelDials)
						}
						after := w.stack.Stats().TCP
						if kernelDials && after.AuthBad == before.AuthBad {
							t.Errorf("%s: no bad digest was counted", f.name)
						}
					}
				}
				st := w.stack.Stats().TCP
				t.Logf("bad %d, missing %d, unexpected %d", st.AuthBad, st.AuthMissing, st.AuthUnexpected)
			})
		})
	}
}
