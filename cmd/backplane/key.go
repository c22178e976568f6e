package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gobackplane/backplane/internal/envelope"
)

func keyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key",
		Short: "Make a new key for cluster.keys",
		Long: `Make a new key for cluster.keys: 32 random bytes in base64.

Every node of a cluster needs it. To change it without a pause, add the new one at the end of cluster.keys on all nodes,
then move it to the front on all nodes, then drop the old one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), envelope.NewKey())
			return err
		},
	}
}
