package sandbox

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // else the race detector has every process sleep for a second at its end
	}
	if os.Getenv(forgetVariable) == "" {
		Init()
	}
	if name := os.Getenv(helperVariable); name != "" {
		os.Exit(helpers[name](arguments()))
	}
	os.Exit(m.Run())
}
