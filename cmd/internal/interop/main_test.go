package interop

import (
	"testing"

	"vipd/cmd/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
