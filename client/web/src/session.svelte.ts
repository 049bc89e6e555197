// Who we are to the server: a token for as long as the tab lives, and the calls made with it.
//
// The token is in sessionStorage: another tab asks anew, a closed one has forgotten it. It goes into
// the authorization header and nowhere else, never into an address.
import { BangerError, connectWeb } from "@banger/client";

const KEY = "banger-token";

class Session {
  /** The sentence with which a token is asked for; null while none is missing. */
  asks = $state<string | null>(null);
  /** Whether a token is sent. */
  signedIn = $state(sessionStorage.getItem(KEY) !== null);

  signIn(token: string): void {
    sessionStorage.setItem(KEY, token.trim());
    this.signedIn = true;
    this.asks = null;
  }

  signOut(): void {
    sessionStorage.removeItem(KEY);
    this.signedIn = false;
  }

  /** Asks for a token where the server does not know us. */
  refused(error: unknown): void {
    if (!(error instanceof BangerError) || !error.is("TOKEN_INVALID")) return;
    this.asks = this.signedIn ? "The server does not take this token." : "The server wants a token.";
  }
}

export const session = new Session();

export const banger = connectWeb({ token: () => sessionStorage.getItem(KEY) ?? undefined });

/** An error as a sentence for people, the server's own words where it has some. */
export function sentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (!(error instanceof BangerError) || error.fields.length === 0) return error.message;
  return error.fields.map(({ field, description }) => `${field}: ${description}`).join("\n");
}
