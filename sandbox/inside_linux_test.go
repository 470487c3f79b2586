package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/nstest"
	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/tun"
	"github.com/weirnet/weir/packet"
)

// What the program meets inside.
func TestInside(t *testing.T) {
	need(t)
	tests := []struct {
		name   string
		noPIDs bool
		script string
		want   string
	}{
		{"interfaces", false, "ls /proc/sys/net/ipv4/conf", "all\ndefault\nlo\nweir0"},
		{"addresses", false, "ip -o addr | awk '{print $2, $4}'", "lo 127.0.0.1/8\nlo ::1/128\nweir0 198.18.0.2/30\nweir0 fd77:6569:7200::2/126"},
		{"default routes", false, "ip route show default; ip -6 route show default | cut -d' ' -f1-5",
			"default via 198.18.0.1 dev weir0 \ndefault via fd77:6569:7200::1 dev weir0"},
		{"MTU", false, "cat /sys/class/net/weir0/mtu 2>/dev/null || ip -o link show weir0 | sed 's/.*mtu \\([0-9]*\\).*/\\1/'", "1500"},
		{"loopback is up", false, "ip -o link show lo | grep -c LOOPBACK,UP", "1"},
		{"loopback is its own", false, "ip -o -6 addr show lo | wc -l", "1"},
		{"name server", false, "grep ^nameserver /etc/resolv.conf", "nameserver 198.18.0.1"},
		{"processes", false, "test $$ -lt 50; echo $?; set -- /proc/[0-9]*; echo $#", "0\n2"}, // init and sh
		{"process ids of the host", true, "test $$ -gt 2 && test -d /proc/$PPID && cat /proc/$PPID/comm", initName},
		{"init's name", false, "cat /proc/1/comm", initName},
		{"low ports", false, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "0"},
		{"nothing of the making", false, "grep -c weir /proc/mounts; ls /proc/resolv.conf 2>&1 | grep -c 'No such'", "1\n1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := shell(t, tt.script)
			c.NoPIDNamespace = tt.noPIDs
			if got := output(t, c); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What the sandbox mounts is not seen outside.
func TestOutside(t *testing.T) {
	need(t)
	before := must(os.ReadFile("/proc/self/mounts"))
	resolv, _ := os.ReadFile(resolvConf)
	c := shell(t, "echo ready; read x")
	stdin, _ := c.StdinPipe()
	stdout, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line(t, stdout)
	if during := must(os.ReadFile("/proc/self/mounts")); !bytes.Equal(before, during) {
		t.Errorf("mounts were\n%s\nand are\n%s", before, during)
	}
	if during, _ := os.ReadFile(resolvConf); !bytes.Equal(resolv, during) {
		t.Errorf("%s is %s", resolvConf, during)
	}
	if _, err := net.InterfaceByName(interfaceName); err == nil {
		t.Errorf("%s is out here", interfaceName)
	}
	stdin.Close()
	c.Wait()
}

// A user without rights gets the same: own ids, no capabilities, ports below 1024.
func TestUnprivileged(t *testing.T) {
	need(t)
	openTUN(t)
	for _, script := range []struct{ run, want string }{
		{"id -u; id -g", "65534\n65534"},
		{"grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2 | sort -u", "0000000000000000"},
		{"cat /proc/self/uid_map | tr -s ' '", " 65534 65534 1"},
		{"cat /proc/self/setgroups", "deny"},
		{"cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/net/ipv4/ping_group_range", "0\n65534\t65534"},
		{"ip -o addr show weir0 | awk '{print $4}'", "198.18.0.2/30\nfd77:6569:7200::2/126"},
		{"grep ^nameserver /etc/resolv.conf", "nameserver 198.18.0.1"},
		{"ip link set weir0 down 2>&1 | head -1", "RTNETLINK answers: Operation not permitted"},
	} {
		c := helper(t, "run", "sh", "-c", script.run)
		asNobody(t, c)
		if os.Geteuid() != 0 && os.Geteuid() != userNobody {
			t.Skip("needs root, to be nobody")
		}
		out, err := c.CombinedOutput()
		if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != script.want {
			t.Errorf("%s: %q, %v; want %q", script.run, got, err, script.want)
		}
	}
}

// Root keeps all users, so that programs which change to another still can.
func TestRoot(t *testing.T) {
	need(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if got := output(t, shell(t, "setpriv --reuid 65534 --regid 65534 --clear-groups id -u; stat -c %u /proc/1")); got != "65534\n0" {
		t.Errorf("%q", got)
	}
}

// The network is served before the program is executed, and what the program sends arrives. The gateway answers its first ping.
func TestNetwork(t *testing.T) {
	need(t)
	if _, err := exec.LookPath("ping"); err != nil {
		nstest.Missing(t, "ping", err.Error())
	}
	for _, gateway := range []string{Gateway4, Gateway6} {
		c := command(t, "ping", "-n", "-c1", "-W10", gateway)
		c.network.serve = answerPings
		c.MTU = 9000
		if got := output(t, c); !strings.Contains(got, "1 received") {
			t.Errorf("%s", got)
		}
	}
}

// answerPings turns every echo request round.
func answerPings(file *os.File) (func(), error) {
	d, err := tun.FromFile(file, tun.Options{MTU: 9000})
	if err != nil {
		return nil, err
	}
	pool := packet.NewPool(nil)
	err = d.Attach(link.Sink{Packets: pool, Deliver: func(_ int, batch []*packet.Packet) {
		for _, p := range batch {
			if p.Checksum == packet.ChecksumPartial {
				p.FinishChecksum()
			}
			b := bytes.Clone(p.Data().Flatten())
			p.Release()
			icmp := b
			switch {
			case b[0]>>4 == 4 && b[9] == 1:
				copy(b[12:20], append(bytes.Clone(b[16:20]), b[12:16]...))
				icmp = b[20:]
			case b[0]>>4 == 6 && b[6] == 58:
				copy(b[8:40], append(bytes.Clone(b[24:40]), b[8:24]...))
				icmp = b[40:]
			default:
				continue
			}
			var reply byte
			switch icmp[0] {
			case 8:
				reply = 0
			case 128:
				reply = 129
			default:
				continue
			}
			// RFC 1624: the sum changes by what the type does.
			sum := uint32(icmp[2])<<8 | uint32(icmp[3])
			sum += 0xffff + (uint32(icmp[0]) << 8) - (uint32(reply) << 8)
			sum = sum&0xffff + sum>>16
			sum = sum&0xffff + sum>>16
			icmp[0], icmp[2], icmp[3] = reply, byte(sum>>8), byte(sum)
			q := pool.Get()
			q.Data().Append(b)
			d.WritePackets(0, []*packet.Packet{q})
		}
	}})
	return func() { d.Close() }, err
}

// A container with a masked /proc does not permit a fresh one: the sandbox does without a PID namespace, and says so.
func TestMaskedProc(t *testing.T) {
	need(t)
	nstest.RunUser(t, func(t *testing.T) {
		// What is mounted here cannot be unmounted in a user namespace below, which is what makes the /proc here one that hides something.
		if err := unix.Mount("none", "/proc/acpi", "tmpfs", 0, ""); err != nil {
			if err = unix.Mount("none", "/proc/scsi", "tmpfs", 0, ""); err != nil {
				t.Skip(err)
			}
		}
		var notices []string
		c := shell(t, "test -d /proc/$$ && test $PPID -gt 1 && cat /proc/$PPID/comm; exit 5")
		c.Notice = func(line string) { notices = append(notices, line) }
		c.Stdin = strings.NewReader("")
		out, err := c.Output()
		if ExitCode(err) != 5 || string(out) != initName+"\n" {
			t.Errorf("%q, %v", out, err)
		}
		if len(notices) != 1 || !strings.Contains(notices[0], "no PID namespace") {
			t.Errorf("notices %q", notices)
		}
	})
}

// resolv.conf may be a link, and may be missing.
func TestResolvLink(t *testing.T) {
	need(t)
	nstest.RunUser(t, func(t *testing.T) {
		// An /etc of the test's own, with what is there.
		etc := t.TempDir()
		if out, err := exec.Command("cp", "-r", "/etc/passwd", "/etc/group", etc).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		target := filepath.Join(etc, "target")
		if err := errors.Join(os.WriteFile(target, []byte("nameserver 192.0.2.53\nsearch example.org\n"), 0o600), os.Symlink("target", etc+"/resolv.conf"),
			unix.Mount(etc, "/etc", "", unix.MS_BIND, "")); err != nil {
			t.Fatal(err)
		}
		if got, want := output(t, shell(t, "cat /etc/resolv.conf")), strings.TrimSuffix(resolvFor("search example.org"), "\n"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		os.Remove(target)
		var notices []string
		c := shell(t, "cat /etc/resolv.conf")
		c.Notice = func(line string) { notices = append(notices, line) }
		if err := c.Run(); ExitCode(err) != 1 || len(notices) != 1 || !strings.Contains(notices[0], "sudo touch /etc/resolv.conf") {
			t.Errorf("%v, notices %q", err, notices)
		}
	})
}

func TestResolvFor(t *testing.T) {
	host := "# comment\nnameserver 192.0.2.1\n search a.example b.example\noptions\tndots:2 edns0\nsortlist 192.0.2.0\ndomain c.example"
	want := "nameserver 198.18.0.1\nsearch a.example b.example\noptions\tndots:2 edns0\ndomain c.example\n"
	if got := resolvFor(host); !strings.HasPrefix(got, "# weir") || !strings.HasSuffix(got, "\n"+want) {
		t.Errorf("%s", got)
	}
}

// What this host lacks is named, with the command that mends it, and the command exits with 125.
func TestMissing(t *testing.T) {
	need(t)
	t.Run("no rights on /dev/net/tun", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root, to be nobody")
		}
		var s unix.Stat_t
		unix.Stat("/dev/net/tun", &s)
		if s.Mode&6 != 0 {
			t.Skip("/dev/net/tun is open to all")
		}
		c := helper(t, "run", "true")
		asNobody(t, c)
		check125(t, c, "no /dev/net/tun: open /dev/net/tun for weir0: permission denied; to mend it: sudo chmod 0666 /dev/net/tun")
	})
	t.Run("no /dev/net/tun", func(t *testing.T) {
		nstest.RunUser(t, func(t *testing.T) {
			if err := unix.Mount("none", "/dev/net", "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			check125(t, helper(t, "run", "true"), "no /dev/net/tun: open /dev/net/tun for weir0: no such file or directory; to mend it: sudo modprobe tun")
		})
	})
	for _, name := range []string{"user", "net", "pid"} {
		t.Run("no "+name+" namespaces", func(t *testing.T) {
			nstest.RunUser(t, func(t *testing.T) {
				setting := "/proc/sys/user/max_" + name + "_namespaces" // of this user namespace and those below
				if err := os.WriteFile(setting, []byte("0"), 0); err != nil {
					t.Skip(err)
				}
				check125(t, helper(t, "run", "true"), "no "+name+" namespaces: no space left on device; to mend it: sudo sysctl -w user.max_"+name+"_namespaces=")
			})
		})
	}
}

// check125 runs a helper, and expects exit code 125 and a line that says so.
func check125(t *testing.T, c *exec.Cmd, says string) {
	t.Helper()
	out, _ := c.CombinedOutput()
	if code := c.ProcessState.ExitCode(); code != ExitFailed || !strings.Contains(string(out), says) || strings.Count(string(out), "\n") != 1 {
		t.Errorf("exit code %d, %q; want %d and %q", code, out, ExitFailed, says)
	}
}

func TestNamespacesMissing(t *testing.T) {
	tests := []struct {
		errno    syscall.Errno
		settings map[string]string
		says     string
	}{
		{unix.ENOSPC, map[string]string{"user.max_user_namespaces": "0"}, "no user namespaces: no space left on device; to mend it: sudo sysctl -w user.max_user_namespaces=15000"},
		{unix.EUSERS, map[string]string{"user.max_net_namespaces": "0"}, "no net namespaces"},
		{unix.ENOSPC, map[string]string{"user.max_user_namespaces": "10"}, "end other programs"},
		{unix.EPERM, map[string]string{"kernel.unprivileged_userns_clone": "0"}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{unix.EPERM, map[string]string{"kernel.apparmor_restrict_unprivileged_userns": "1"}, "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{unix.EPERM, nil, "--security-opt seccomp=unconfined"},
		{unix.EINVAL, nil, "CONFIG_USER_NS"},
		{unix.ENOMEM, nil, "sandbox: starting the init process: cannot allocate memory"},
	}
	for _, tt := range tests {
		err := namespacesMissing(tt.errno, func(name string) string { return tt.settings[name] })
		if !strings.Contains(err.Error(), tt.says) || !errors.Is(err, tt.errno) || ExitCode(err) != ExitFailed {
			t.Errorf("%v, want %q", err, tt.says)
		}
	}
}

func TestPendingIn(t *testing.T) {
	status := "Name:\tx\nSigPnd:\t0000000000000002\nShdPnd:\t0000000000004001\nSigBlk:\t0000000000000002\n"
	for s, want := range map[syscall.Signal]bool{unix.SIGHUP: true, unix.SIGINT: false, unix.SIGTERM: true} {
		if got := pendingIn(status, s); got != want {
			t.Errorf("%v: %v", s, got)
		}
	}
	if pendingIn("ShdPnd:\tx\n", unix.SIGHUP) || pendingIn("", unix.SIGHUP) {
		t.Error("from nothing")
	}
}

func TestIdentity(t *testing.T) {
	want := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1000}, {ContainerID: 100000, HostID: 100000, Size: 65536}}
	if got := identity("         0       1000       1000\n    100000     231072      65536\n"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := identity("nonsense\n"); got != nil {
		t.Errorf("%v", got)
	}
}
