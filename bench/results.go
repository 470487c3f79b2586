package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// results is the file that a run leaves.
type results struct {
	Machine machine      `json:"machine"`
	Scale   scale        `json:"scale"` // of the last run
	Tests   []testResult `json:"tests"`
}

// machine says where and with what figures were taken.
type machine struct {
	CPU     string    `json:"cpu"`
	Cores   int       `json:"cores"`
	Memory  int64     `json:"memory"` // bytes
	Kernel  string    `json:"kernel"`
	Go      string    `json:"go"`
	Gvisor  string    `json:"gvisor"`
	Commit  string    `json:"commit"`
	Date    time.Time `json:"date"`
	Command string    `json:"command"`
}

// testResult is all samples of a test, by entry.
type testResult struct {
	ID      string              `json:"id"`
	Unit    string              `json:"unit"`
	Commit  string              `json:"commit"`
	Date    time.Time           `json:"date"`
	Command string              `json:"command"`
	Samples map[string][]sample `json:"samples"`
	Failed  map[string]string   `json:"failed,omitempty"` // why an entry has fewer, or none
}

func (r *results) find(id string) *testResult {
	for i := range r.Tests {
		if r.Tests[i].ID == id {
			return &r.Tests[i]
		}
	}
	return nil
}

// put replaces the test of that name, or adds it.
func (r *results) put(t testResult) {
	if old := r.find(t.ID); old != nil {
		*old = t
		return
	}
	r.Tests = append(r.Tests, t)
}

// values are those of an entry: the samples' values, or what they have more by that name.
func (t *testResult) values(entry, key string) (v []float64) {
	if t == nil {
		return nil
	}
	for _, s := range t.Samples[entry] {
		if key == "" {
			v = append(v, s.Value)
		} else if x, ok := s.More[key]; ok {
			v = append(v, x)
		}
	}
	return v
}

// load reads a file of results; one that is not there is empty.
func load(file string) (*results, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &results{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &results{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(r.Tests) == 0 {
		return nil, fmt.Errorf("%s holds no results of bench", file)
	}
	return r, nil
}

// save writes the file whole or not at all.
func (r *results) save(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func thisMachine() machine {
	m := machine{
		CPU: cpuName(), Cores: runtime.NumCPU(), Memory: 1024 * procField("/proc/meminfo", "MemTotal:"),
		Go: runtime.Version(), Commit: commit(), Date: time.Now().UTC().Truncate(time.Second), Command: "bench " + strings.Join(os.Args[1:], " "),
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, d := range b.Deps {
			if d.Path == "gvisor.dev/gvisor" {
				m.Gvisor = d.Version
			}
		}
	}
	return m
}

func cpuName() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, "\t :"))
		}
	}
	return runtime.GOARCH
}

// commit is that of which this program was built, or else that of the working directory; "+" says that something was changed.
func commit() string {
	var revision, changed string
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value[:min(7, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = "+"
			}
		}
	}
	if revision != "" {
		return revision + changed
	}
	out, err := exec.Command("git", "describe", "--always", "--dirty=+", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
