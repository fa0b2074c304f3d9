import { blobStoreContract } from "../contracts/blob-store.ts"
import { MemoryBlobStore } from "../fakes/memory-blob-store.ts"

blobStoreContract("MemoryBlobStore", async () => {
  const store = new MemoryBlobStore()
  return { store, damage: async (ref) => store.damage(ref), close: async () => undefined }
})
